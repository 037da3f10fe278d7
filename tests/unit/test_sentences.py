"""Sentences for a voice, of whole texts and of texts that are still being written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.domain.sentences import CODE_SENTENCE, SentenceStream, sentences_of, spoken

_ANSWER = """\
# Making tea

Dr. Smith boils 1.5 l of water, e.g. at 7:30 a.m. It takes `kettle_time` minutes!
This line was wrapped by somebody's editor in the middle of its
sentence. Is that *clear*?

1. Warm the **pot**.
2. Wait
   - [x] then pour

```python
print("tea. really.")
```

| Tea | Minutes |
|-----|--------:|
| Green | 2 |

See [the manual](https://example.com/tea?x=1) or https://www.example.org/a/b.
---
Enjoy 🍵!
"""

_SAID = [
    "Making tea.",
    "Dr. Smith boils 1.5 l of water, for example, at 7:30 a.m.",
    "It takes kettle time minutes!",
    "This line was wrapped by somebody's editor in the middle of its sentence.",
    "Is that clear?",
    "1: Warm the pot.",
    "2: Wait.",
    "then pour.",
    CODE_SENTENCE,
    "Tea, Minutes.",
    "Green, 2.",
    "See the manual or example dot org.",
    "Enjoy!",
]


def test_markdown_is_said_as_sentences() -> None:
    assert sentences_of(_ANSWER) == _SAID


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50])
def test_pieces_give_the_same_sentences_as_the_whole(step: int) -> None:
    stream = SentenceStream()
    said: list[str] = []
    for start in range(0, len(_ANSWER), step):
        said += stream.push(_ANSWER[start : start + step])
    assert said + stream.rest() == _SAID


def test_a_sentence_comes_as_soon_as_the_next_one_begins() -> None:
    stream = SentenceStream()
    assert stream.push("It rains. ") == []
    assert stream.push("Take") == ["It rains."]
    assert stream.push(" a coat.\n\n") == ["Take a coat."]
    assert stream.rest() == []


def test_an_eager_stream_begins_at_the_first_clause() -> None:
    text = "If you would like to know how tea is made, then read on, for it is easy. "
    eager, patient = SentenceStream(eager=True), SentenceStream()
    assert eager.push(text[:50]) == ["If you would like to know how tea is made,"]
    assert patient.push(text[:50]) == []
    assert eager.push(text[50:]) == []
    assert eager.rest() == ["then read on, for it is easy."]


def test_an_endless_sentence_is_cut() -> None:
    said = sentences_of("and so on, " * 100)
    assert max(map(len, said)) <= 300
    assert " ".join(said).count("so on") == 100
    assert "".join(sentences_of("x" * 1000)).count("x") == 1000


@pytest.mark.parametrize(
    ("text", "n_sentences"),
    [
        ("Mr. and Mrs. Fox met J. K. Rowling in St. Ives.", 1),
        ("The U.S. Senate met. It left at 5 p.m. Nobody came.", 3),
        ("Pi is 3.14159. Version 2.0.1 is out.", 2),
        ('He said "Stop!" and left. "Why?" she asked.', 2),
        ("Well... Maybe. Is it so?! Yes.", 4),
        ("Roses are red\nViolets are blue", 2),
        ("a hard\nwrapped line", 1),
        ("> quoted\n> by somebody", 1),
    ],
)
def test_only_ends_are_ends(text: str, n_sentences: int) -> None:
    assert len(sentences_of(text)) == n_sentences


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Write to a.b@example.com.", "Write to a dot b at example dot com."),
        ("2 * 3 → 6, i.e. x ≥ 5", "2 times 3, 6, that is, x at least 5."),
        ("*very* __loud__ ~~not~~ snake_case", "very loud not snake case."),
        ("Costs $3.50 &amp; 20% less", "Costs $3.50 & 20% less."),
        ("vLLM v0.32.0", "vLLM v0 point 32 point 0."),
        ("<b>Cats vs. dogs</b>, etc.", "Cats versus dogs, et cetera."),
        ("It is 20 °C ☀️", "It is 20 °C."),
        ("![a cat](data:x)", "a cat."),
        ("***", ""),
        ("🎉", ""),
    ],
)
def test_what_is_for_the_eye_is_put_into_words(written: str, said: str) -> None:
    assert spoken(written) == said


@given(st.lists(st.text(alphabet="aB1 .!?\n`|#*-_>~()[]:/@,$é🎉", max_size=12), max_size=20))
def test_any_text_in_any_pieces_is_said_once(pieces: list[str]) -> None:
    stream = SentenceStream()
    said = [sentence for piece in pieces for sentence in stream.push(piece)] + stream.rest()
    assert said == sentences_of("".join(pieces))
    assert all(sentence.strip() for sentence in said)
