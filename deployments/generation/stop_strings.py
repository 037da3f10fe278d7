"""Finds the strings at which an answer must end. Pure."""

from __future__ import annotations


class StopStrings:
    """Lets text through that can be no part of a stop string; the rest is held back."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.is_found = False

    @property
    def is_holding(self) -> bool:
        """The text so far ends with what may become a stop string."""
        return bool(self._held)

    def feed(self, text: str) -> str:
        """What is certain to be part of the answer; nothing more once a stop string was found."""
        if self.is_found or not self._stops:
            return "" if self.is_found else text
        text = self._held + text
        places = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if places:
            self.is_found, self._held = True, ""
            return text[: min(places)]
        n_certain = len(text) - self._unfinished(text)
        self._held = text[n_certain:]
        return text[:n_certain]

    def close(self) -> str:
        """The rest: it became no stop string."""
        text, self._held = self._held, ""
        return text

    def _unfinished(self, text: str) -> int:
        """How many last characters could be the beginning of a stop string."""
        longest = max(map(len, self._stops)) - 1
        for length in range(min(longest, len(text)), 0, -1):
            tail = text[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
