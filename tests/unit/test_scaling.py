"""How many generators a load asks for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serve.domain.scaling import HIGH_USE, LOW_USE, GeneratorLoad, wanted_replicas

_LOADS = st.lists(
    st.builds(
        GeneratorLoad,
        running=st.floats(0, 64),
        waiting=st.floats(0, 100),
        waiting_tokens=st.floats(0, 1e6),
        kv_use=st.floats(0, 1),
        max_running=st.sampled_from([0.0, 32.0, 64.0]),
        tokens_per_s=st.floats(0, 1e4),
    ),
    max_size=8,
)
_TARGETS = st.integers(1, 10)
_WAITING = GeneratorLoad(running=8, waiting=4, waiting_tokens=3_000, tokens_per_s=200)


def _wanted(*loads: GeneratorLoad, target: int | None = None, maximum: int = 99) -> int:
    return wanted_replicas(
        loads, target=len(loads) if target is None else target, minimum=1, maximum=maximum
    )


def test_a_full_cache_asks_for_another() -> None:
    assert _wanted(GeneratorLoad(kv_use=HIGH_USE)) == 1
    assert _wanted(*[GeneratorLoad(kv_use=HIGH_USE)] * 3) == 3
    assert _wanted(GeneratorLoad(kv_use=HIGH_USE + 0.01)) == 2


def test_full_places_ask_for_another_though_the_cache_is_empty() -> None:
    assert _wanted(GeneratorLoad(running=31, max_running=32)) == 2


def test_prompts_that_wait_long_ask_for_more_but_never_more_than_twice() -> None:
    assert _wanted(_WAITING) == 2
    assert _wanted(*[_WAITING] * 3) == 6
    assert _wanted(*[_WAITING] * 3, maximum=4) == 4
    soon = replace(_WAITING, waiting_tokens=900)
    assert _wanted(soon) == 1


def test_tokens_of_a_prompt_that_is_being_read_are_no_queue() -> None:
    assert _wanted(replace(_WAITING, waiting=0)) == 1
    assert _wanted(replace(_WAITING, tokens_per_s=0)) == 1


def test_replicas_that_are_starting_are_not_asked_for_twice() -> None:
    assert _wanted(_WAITING, target=2) == 2
    assert _wanted(GeneratorLoad(kv_use=1.0), target=3) == 3


def test_one_at_a_time_goes_and_only_if_the_rest_has_room() -> None:
    assert _wanted(*[GeneratorLoad()] * 5) == 4
    assert _wanted(GeneratorLoad(kv_use=LOW_USE / 2), GeneratorLoad(kv_use=LOW_USE / 2)) == 2
    assert _wanted(GeneratorLoad(kv_use=LOW_USE / 2), GeneratorLoad(kv_use=LOW_USE / 3)) == 1
    assert _wanted(GeneratorLoad(waiting=1), GeneratorLoad()) == 2


def test_who_has_not_reported_is_not_taken_for_idle() -> None:
    assert _wanted(GeneratorLoad(), target=2) == 2
    assert _wanted(target=3) == 3


def test_figures_we_do_not_use_are_passed_over() -> None:
    load = GeneratorLoad.of({"kv_use": 0.25, "capacity_tokens": 1e5})
    assert load == GeneratorLoad(kv_use=0.25)


@given(loads=_LOADS, target=_TARGETS, minimum=st.integers(0, 4), room=st.integers(0, 6))
def test_the_bounds_hold(loads: list[GeneratorLoad], target: int, minimum: int, room: int) -> None:
    wanted = wanted_replicas(loads, target=target, minimum=minimum, maximum=minimum + room)
    assert minimum <= wanted <= minimum + room


@given(loads=_LOADS.filter(bool), target=_TARGETS, more=st.floats(0, 1), data=st.data())
def test_more_load_never_wants_fewer(
    loads: list[GeneratorLoad], target: int, more: float, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(loads) - 1))
    load = loads[index]
    heavier = replace(
        load,
        kv_use=load.kv_use + more,
        waiting=load.waiting + more,
        waiting_tokens=load.waiting_tokens + 1_000 * more,
    )
    busier = [*loads[:index], heavier, *loads[index + 1 :]]
    assert _wanted(*busier, target=target) >= _wanted(*loads, target=target)


@given(demand=st.floats(0, 12), start=_TARGETS)
def test_a_steady_load_settles(demand: float, start: int) -> None:
    """``demand`` is in whole replicas, spread evenly; what does not fit waits."""
    counts = [start]
    for _ in range(40):
        n = counts[-1]
        load = GeneratorLoad(
            kv_use=min(1.0, demand / n),
            waiting=max(0.0, demand / n - 1) * 32,
            waiting_tokens=max(0.0, demand / n - 1) * 8_000,
            tokens_per_s=200,
        )
        counts.append(_wanted(*[load] * n))
    assert len(set(counts[-20:])) == 1
    steps = [after - before for before, after in pairwise(counts)]
    assert all(step >= 0 for step in steps) or all(step <= 0 for step in steps)
