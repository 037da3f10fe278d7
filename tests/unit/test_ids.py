from __future__ import annotations

import os

from serve.domain.ids import new_id, repeatable_ids


def test_no_two_ids_are_equal() -> None:
    assert len({new_id("x") for _ in range(1000)}) == 1000


def test_a_forked_process_gives_other_ids() -> None:
    new_id("x")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_id("x").encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.read() != new_id("x")


def test_the_same_steps_from_the_same_seed_give_the_same_ids() -> None:
    def steps() -> list[str]:
        return [new_id("conv"), new_id("msg"), new_id("msg"), new_id("conv")]

    with repeatable_ids("a"):
        first = steps()
    with repeatable_ids("a"):
        assert steps() == first
    with repeatable_ids("b"):
        other = steps()
    assert len({*first, *other}) == 8
    assert not {*steps()} & {*first}
    assert all(len(name.partition("_")[2]) == 28 for name in first)
