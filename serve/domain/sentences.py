"""Written text as sentences to be said, also while the text is still being written.

Markdown and other things for the eye go; what a voice would stumble over is put into words.
Numbers, dates and money stay: voices read them by themselves.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Final

# A voice loses its breath over longer ones, and a listener who interrupts waits for the end.
_LONGEST_CHARS: Final = 300
_EAGER_CHARS: Final = 40
# A line this long that ends in the middle of a sentence was wrapped by an editor.
_WRAPPED_CHARS: Final = 50
# What a line is shows by then: "100. x" is an item of a list.
_LINE_HEAD_CHARS: Final = 6

CODE_SENTENCE: Final = "The code is in the text."


class SentenceStream:
    """Takes a text in pieces and gives its sentences as soon as each is whole.

    ``eager``: the first may be a part of a sentence, since somebody waits for the first sound.
    """

    def __init__(self, *, eager: bool = False) -> None:
        self._lines = _Lines()
        self._text = ""
        self._is_eager = eager

    def push(self, delta: str) -> list[str]:
        """The sentences that ``delta`` completes, ready to be said; often none."""
        self._text += self._lines.push(delta)
        return self._taken(is_last=False)

    def rest(self) -> list[str]:
        """What is left once the text is over."""
        self._text += self._lines.rest()
        return self._taken(is_last=True)

    def _taken(self, *, is_last: bool) -> list[str]:
        sentences: list[str] = []
        while cut := self._cut(is_last=is_last):
            said = spoken(self._text[:cut])
            self._text = self._text[cut:]
            if said:
                sentences.append(said)
                self._is_eager = False
        return sentences

    def _cut(self, *, is_last: bool) -> int:
        """How many characters the next sentence has; 0 when it is not whole yet."""
        text = self._text
        for match in _END.finditer(text):
            if match.end() > _LONGEST_CHARS:
                break
            if match[0].startswith("\n"):
                return match.end()
            following = _NEXT.search(text, match.end())
            if following is None and not is_last:
                break
            if _ends_sentence(text[: match.end()], following[0] if following else ""):
                return match.end()
        if self._is_eager and (clauses := _cuts(_CLAUSE, text)):
            return next((cut for cut in clauses if cut >= _EAGER_CHARS), 0) or is_last * len(text)
        if len(text) > _LONGEST_CHARS:
            head = text[:_LONGEST_CHARS]
            return (_cuts(_CLAUSE, head) or _cuts(_SPACE, head) or [_LONGEST_CHARS])[-1]
        return len(text) if is_last else 0


def sentences_of(text: str) -> list[str]:
    """The sentences of a whole text, ready to be said."""
    stream = SentenceStream()
    return [*stream.push(text), *stream.rest()]


# --- lines ------------------------------------------------------------------------------------

_FENCE: Final = re.compile(r"\s{0,3}(`{3,}|~{3,})([^`]*)")
_RULE: Final = re.compile(r"\s*(?:[-*_=]\s*){3,}|\s*\|?[-:|\s]*-[-:|\s]*\|[-:|\s]*")
_ROW: Final = re.compile(r"\s*\|(.*?)\|?\s*")
_QUOTE: Final = re.compile(r"^\s*(?:>\s?)+")
_HEADING: Final = re.compile(r"^\s{0,3}#{1,6}\s+")
_BULLET: Final = re.compile(r"^\s*[-*+•]\s+(?:\[[ xX]\]\s+)?")
_NUMBER: Final = re.compile(r"^\s*(\d{1,3})[.)]\s+")


class _Lines:
    """Takes Markdown and gives running text in which a newline ends whatever stands before it."""

    def __init__(self) -> None:
        self._unread = ""
        self._fence = ""
        # The line that is being read, None between lines; and the one before, if it may go on.
        self._line: str | None = None
        self._previous = ""

    def push(self, delta: str) -> str:
        """The running text that is certain now."""
        self._unread += delta
        return self._read(is_last=False)

    def rest(self) -> str:
        """The running text of an unfinished line."""
        return self._read(is_last=True)

    def _read(self, *, is_last: bool) -> str:
        out: list[str] = []
        while self._unread:
            part, newline, behind = self._unread.partition("\n")
            if self._line is None:
                if not newline and not is_last and self._is_unclear(part):
                    break
                out.append(self._begin(part))
            else:
                out.append(part)
                self._line += part
            self._unread = behind
            if newline:
                self._previous, self._line = self._line or "", None
        return "".join(out)

    def _is_unclear(self, head: str) -> bool:
        head = head.lstrip()
        return bool(self._fence) or head[:1] in ("`", "~", "|") or len(head) < _LINE_HEAD_CHARS

    def _begin(self, line: str) -> str:
        """What is known of a new line, behind what parts it from the one before."""
        self._line = ""
        fence = _FENCE.fullmatch(line)
        if self._fence:
            if fence and fence[1].startswith(self._fence) and not fence[2].strip():
                self._fence = ""
            return ""
        if fence:
            self._fence = fence[1]
            return f"\n{CODE_SENTENCE}\n"
        if not line.strip() or _RULE.fullmatch(line):
            return "\n"
        if row := _ROW.fullmatch(line):
            return "\n" + ", ".join(cell.strip() for cell in row[1].split("|") if cell.strip())
        return self._begin_plain(_QUOTE.sub("", line))

    def _begin_plain(self, line: str) -> str:
        heading = _HEADING.sub("", line)
        text = _NUMBER.sub(r"\1: ", _BULLET.sub("", heading))
        goes_on = (
            self._previous
            and text == line
            and (line.lstrip()[:1].islower() or _is_wrapped(self._previous))
        )
        # A heading is over at the end of its line, whatever follows.
        self._line = text if heading == line else ""
        return (" " if goes_on else "\n") + text


def _is_wrapped(line: str) -> bool:
    return len(line) >= _WRAPPED_CHARS and line.rstrip()[-1:] not in tuple(".!?:…")


# --- ends -------------------------------------------------------------------------------------

_END: Final = re.compile(r"\n|[.!?…]+[\"'”’)\]*_]*(?=\s|$)|[。！？]+")  # noqa: RUF001
_CLAUSE: Final = re.compile(r"(?<=[,;:—])\s+|(?<=\s[-–])\s+")  # noqa: RUF001
_SPACE: Final = re.compile(r"\s+")
_NEXT: Final = re.compile(r"[^\s\"'“‘(\[*_]|\n")  # noqa: RUF001
_LAST_WORD: Final = re.compile(r"([\w.'’&-]*?)\.[\"'”’)\]*_]*$")  # noqa: RUF001
# A name, a number or an example follows these.
_TITLES: Final = frozenset(
    (
        *("mr", "mrs", "ms", "mx", "dr", "prof", "rev", "hon", "gen", "col", "lt", "sgt", "capt"),
        *("rep", "sen", "gov", "st", "mt", "ft", "fig", "figs", "no", "nos", "vol", "pp", "ch"),
        *("sec", "eq", "ca", "cf", "vs", "e.g", "i.e", "approx", "al", "op"),
    )
)


def _ends_sentence(text: str, following: str) -> bool:
    """Whether a sentence ends with ``text``, which ends with a mark; ``following`` comes next."""
    if following.islower():
        return False
    word = _LAST_WORD.search(text)
    if word is None or text.rstrip("\"'”’)]*_").endswith(".."):  # noqa: RUF001
        return True
    last = word[1].lstrip("\"'“‘(").lower()  # noqa: RUF001
    is_initial = len(last) == 1 and last.isalpha() and last != "i"
    is_acronym = len(last) > 1 and all(len(each) == 1 for each in last.split("."))
    is_time = last in ("a.m", "p.m")
    return is_time or not (last in _TITLES or is_initial or (is_acronym and following != ""))


def _cuts(places: re.Pattern[str], text: str) -> list[int]:
    return [match.end() for match in places.finditer(text)]


# --- words ------------------------------------------------------------------------------------

_HOST: Final = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}"
_IN_WORDS: Final = (
    (re.compile(r"</?[a-zA-Z][^<>]*>"), " "),
    (re.compile(r"\\([()\[\]])"), " "),
    (re.compile(r"\$\$|`+"), ""),
    (re.compile(r"(\*{1,3}|~~)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<!\w)(_{1,3})(?=\S)(.+?)(?<=\S)\1(?!\w)"), r"\2"),
    (re.compile(r"\*{2,3}|~~|(?<!\w)__|__(?!\w)"), ""),
    (re.compile(r"(?<=\w)_(?=\w)"), " "),
    (re.compile(r"(?i)\be\.\s?g\.,?"), "for example,"),
    (re.compile(r"(?i)\bi\.\s?e\.,?"), "that is,"),
    (re.compile(r"\betc\.(?=\s*[^\s\w])"), "et cetera"),
    (re.compile(r"\betc\.(?=\s+[a-z])"), "et cetera"),
    (re.compile(r"\betc\."), "et cetera."),
    (re.compile(r"(?<=\s)vs?\.(?=\s)"), "versus"),
    (re.compile(r"(?<=\d)\s*[×*]\s*(?=\d)"), " times "),  # noqa: RUF001
    (re.compile(r"\s*(?:-+>|=>|→|⇒)\s*"), ", "),
    (re.compile(r"\s*(?:≈|~)\s*(?=\d)"), " about "),
    (re.compile(r"\s*(?:≤|<=)\s*"), " at most "),
    (re.compile(r"\s*(?:≥|>=)\s*"), " at least "),
    (re.compile(r"\s*(?:≠|!=)\s*"), " is not "),
    (re.compile(r"\s+[-–—]{1,2}\s+"), ", "),  # noqa: RUF001
)
_LINK: Final = re.compile(r"!?\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")
_EMAIL: Final = re.compile(rf"(?i)\b[\w.+-]+@{_HOST}\b")
_URL: Final = re.compile(r"(?i)<?\b(?:https?://|www\.)(?:www\.)?([^\s/<>?#)]+)[^\s<>)]*>?")
_VERSION: Final = re.compile(r"\b(v?)(\d+(?:\.\d+){2,})\b")
_SYMBOLS_SAID: Final = frozenset("°")
# Of emoji; a combining mark of letters is said with its letter.
_VARIANTS: Final = frozenset("\ufe0e\ufe0f\u20e3")
_SILENT: Final = frozenset(("So", "Sk", "Cf", "Co", "Cs", "Cn", "Cc"))


def spoken(text: str) -> str:
    """One sentence without what is only for the eye; empty when nothing is left to say."""
    text = _LINK.sub(r"\1", html.unescape(text))
    text = _EMAIL.sub(lambda match: match[0].replace("@", " at ").replace(".", " dot "), text)
    text = _URL.sub(_site, text)
    for pattern, words in _IN_WORDS:
        text = pattern.sub(words, text)
    text = _VERSION.sub(lambda match: match[1] + match[2].replace(".", " point "), text)
    text = "".join(map(_sound, text))
    text = re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split())).strip().lstrip(" ,;")
    if not any(map(str.isalnum, text)):
        return ""
    # The voice falls at an end, and waits at a comma where a sentence was cut.
    return text if text[-1] in ".!?,;…\"”'’)。！？" else f"{text.rstrip(':—-')}."  # noqa: RUF001


def _site(address: re.Match[str]) -> str:
    tail = re.search(r"[.,;:!?]*$", address[0])
    return address[1].rstrip(".,;:!?").replace(".", " dot ") + (tail[0] if tail else "")


def _sound(char: str) -> str:
    if char in _SYMBOLS_SAID or char.isspace():
        return char
    return " " if char in _VARIANTS or unicodedata.category(char) in _SILENT else char
