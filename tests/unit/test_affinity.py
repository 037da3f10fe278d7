"""Which replica a key belongs to, and when another one gets its work."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.domain.affinity import (
    LOAD_FACTOR,
    affinity_in,
    affinity_of,
    longest_queue,
    preferred,
    ranked,
)
from serve.domain.media import MediaKind, MediaRef
from serve.domain.messages import (
    ChatMessage,
    FeatureRef,
    GenerationRequest,
    NativeMediaPart,
    Role,
    Sampling,
    TextBatch,
    TextPart,
)

_NAMES = st.sets(st.text("abcdefgh0123456789", min_size=1, max_size=8), min_size=1, max_size=12)
_KEYS = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=60, unique=True)


def _said(role: Role, *texts: str) -> ChatMessage:
    return ChatMessage(role=role, parts=tuple(TextPart(text) for text in texts))


def _picture(content_hash: str) -> MediaRef:
    return MediaRef(
        asset_id="asset_1",
        owner_id="user_1",
        kind=MediaKind.IMAGE,
        mime_type="image/png",
        content_hash=content_hash,
        storage_key="assets/1",
        n_bytes=1,
    )


def _request(*messages: ChatMessage, affinity: str = "") -> GenerationRequest:
    return GenerationRequest(
        response_id="resp_1", model="m", messages=messages, sampling=Sampling(), affinity=affinity
    )


@given(names=_NAMES, keys=_KEYS, newcomer=st.text("xyz", min_size=1, max_size=4))
def test_only_the_share_of_who_joins_or_leaves_moves(
    names: set[str], keys: list[str], newcomer: str
) -> None:
    more = {*names, newcomer}
    for key in keys:
        before, after = ranked(key, names), ranked(key, more)
        # Whether it joins or leaves, the others keep their order among themselves.
        assert [name for name in after if name != newcomer] == before
        assert after[0] in (before[0], newcomer)


@given(names=_NAMES, key=st.text())
def test_every_router_ranks_alike(names: set[str], key: str) -> None:
    assert ranked(key, sorted(names)) == ranked(key, sorted(names, reverse=True))
    assert set(ranked(key, names)) == names


def test_keys_spread_over_the_replicas() -> None:
    names = [f"replica-{number}" for number in range(4)]
    owners = [ranked(f"key-{number}", names)[0] for number in range(2_000)]
    for name in names:
        assert 400 < owners.count(name) < 600


@given(
    names=_NAMES, arrivals=st.lists(st.sampled_from(["hot", "hot", "warm", "cold"]), max_size=200)
)
def test_no_queue_grows_beyond_its_bound(names: set[str], arrivals: list[str]) -> None:
    lengths = dict.fromkeys(sorted(names), 0)
    for n_before, key in enumerate(arrivals):
        chosen = preferred(key, lengths)[0]
        assert lengths[chosen] <= LOAD_FACTOR * n_before / len(lengths) + 1
        lengths[chosen] += 1
    average = len(arrivals) / len(lengths)
    assert max(lengths.values()) <= math.ceil(LOAD_FACTOR * average) + 2


@given(
    key=st.text(),
    lengths=st.dictionaries(st.text("abc", min_size=1, max_size=4), st.integers(0, 99), min_size=1),
)
def test_all_replicas_are_tried_those_with_room_in_rank(key: str, lengths: dict[str, int]) -> None:
    order = preferred(key, lengths)
    assert sorted(order) == sorted(lengths)
    bound = longest_queue(lengths.values())
    within = [name for name in ranked(key, lengths) if lengths[name] <= bound]
    assert within, "the shortest queue is never too long"
    assert order[: len(within)] == within
    beyond = [lengths[name] for name in order[len(within) :]]
    assert beyond == sorted(beyond)


def test_without_replicas_there_is_nothing_to_prefer() -> None:
    assert preferred("key", {}) == []
    assert ranked("key", ()) == []


def test_turns_of_a_conversation_share_a_key() -> None:
    first = [_said("system", "Be brief."), _said("user", "What is a fold?")]
    later = [*first, _said("assistant", "A function."), _said("user", "Of what?")]
    assert affinity_of(first) == affinity_of(later) != ""


@pytest.mark.parametrize(
    "other",
    [
        [_said("system", "Be long."), _said("user", "What is a fold?")],
        [_said("system", "Be brief."), _said("user", "What is a map?")],
        [_said("user", "What is a fold?")],
        [_said("system", "Be brief.What is a fold?")],
        [_said("system", "Be brief."), _said("user", "What is ", "a fold?")],
        [
            _said("system", "Be brief."),
            ChatMessage(
                role="user",
                parts=(
                    NativeMediaPart(_picture("ab" * 32), FeatureRef(key="k", n_tokens=1, dim=1)),
                    TextPart("What is a fold?"),
                ),
            ),
        ],
    ],
)
def test_other_openings_have_other_keys(other: list[ChatMessage]) -> None:
    assert affinity_of(other) != affinity_of(
        [_said("system", "Be brief."), _said("user", "What is a fold?")]
    )


def test_a_long_first_turn_is_known_by_its_beginning() -> None:
    assert affinity_of([_said("user", "a" * 600)]) == affinity_of([_said("user", "a" * 700)])


def test_a_broken_character_is_part_of_a_key_like_any_other() -> None:
    keys = [affinity_of([_said("user", half)]) for half in ("\ud800", "\ud801")]
    assert keys[0] != keys[1]
    assert ranked("\ud800", ["a"]) == ["a"]


def test_nothing_said_has_no_key() -> None:
    assert affinity_of([]) == ""
    assert affinity_of([_said("assistant", "Hello.")]) == ""


def test_the_key_of_a_call_is_in_its_arguments() -> None:
    hello = _said("user", "hello")
    assert affinity_in([_request(hello, affinity="given")]) == "given"
    assert affinity_in([_request(hello)]) == affinity_of([hello])
    assert affinity_in(["other", _picture("cd" * 32)]) == "cd" * 32
    assert affinity_in([TextBatch(("hello",))]) == ""
    assert affinity_in([]) == ""
