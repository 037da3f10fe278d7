"""Attempts to turn a model against whoever runs it."""

from __future__ import annotations

from typing import Final

from svguardian import resolve_runtime
from svguardian.model.pure_infer import PureGuardian
from svguardian.window import predict_windowed

_INJECTION: Final = ("prompt_injection", "jailbreak", "model_attack")
_HARMFUL: Final = "harmful_content"


class AttackDetector:
    """The SecureVector Guardian model: bags of words and letters, English, a millisecond a text.

    It takes short requests for pictures for half suspicious, so only what it is sure of counts.
    """

    def __init__(self) -> None:
        self._model = PureGuardian.load(str(resolve_runtime()))

    def scores_of(self, text: str) -> dict[str, float]:
        """``prompt_injection`` and ``illicit``, 0 to 1: probabilities of its three best guesses."""
        found = predict_windowed(self._model, text)
        guesses = dict(found["top3"])
        return {
            "prompt_injection": sum(guesses.get(name, 0.0) for name in _INJECTION),
            "illicit": guesses.get(_HARMFUL, 0.0),
        }
