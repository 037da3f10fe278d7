"""What was found in a picture, as a sentence that claims nothing else. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from serve.domain.messages import DetectedObject, Label, TextLine

_MAX_TEXT_CHARACTERS = 300
_IRREGULAR = {"person": "people", "mouse": "mice", "knife": "knives", "sheep": "sheep"}
_UNCOUNTED = frozenset({"skis", "scissors", "broccoli"})


def describe(
    labels: Sequence[Label], objects: Sequence[DetectedObject], lines: Sequence[TextLine]
) -> str:
    """One to three sentences: what it shows, how many of which objects, what is written.

    In plain words, since small models repeat to people whatever scores they read.
    """
    sentences = []
    counts = Counter(seen.name for seen in objects)
    found = _listed([_counted(name, n) for name, n in counts.items()], "and")
    kinds = _listed([label.name for label in labels], "or")
    if len(counts) == 1 and _are_kinds(labels, of=objects[0].name):
        # On its own, a small model takes the tiger cat for a tiger.
        sentences.append(f"Shows {found} (perhaps {kinds}).")
    else:
        if found:
            sentences.append(f"Shows {found}.")
        if kinds:
            sentences.append(f"Looks like {kinds}.")
    if lines:
        text = " / ".join(line.text for line in lines)
        if len(text) > _MAX_TEXT_CHARACTERS:
            text = text[:_MAX_TEXT_CHARACTERS].rsplit(" ", 1)[0] + " …"
        sentences.append(f'Text in the picture: "{text}".')
    return " ".join(sentences) or "Nothing in the picture was recognised."


def _are_kinds(labels: Sequence[Label], *, of: str) -> bool:
    return any(label.name.split()[-1] == of for label in labels)


def _listed(names: Sequence[str], word: str) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


def _counted(name: str, n: int) -> str:
    if name in _UNCOUNTED:
        return name
    if n > 1:
        return f"{n} {_plural(name)}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _plural(name: str) -> str:
    if name in _IRREGULAR:
        return _IRREGULAR[name]
    if name.endswith(("s", "ch", "sh", "x")):
        return name + "es"
    return name + "s"
