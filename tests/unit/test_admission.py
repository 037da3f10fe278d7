"""The fair queue, against everything that owners, generators and time can do to it."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.domain.admission import (
    UNKNOWN_CAPACITY,
    Capacity,
    Demand,
    Experience,
    FairQueue,
    QueueBounds,
    Request,
    Standing,
    capacity_of,
    share,
)
from serve.domain.errors import Overloaded, RateLimited
from serve.domain.journal import Beat

WIDE = QueueBounds(waiting=10_000, waiting_per_owner=10_000, wait_s=math.inf)


def queue(tokens: float = 100, requests: float = math.inf, bounds: QueueBounds = WIDE) -> FairQueue:
    made = FairQueue(bounds, Experience())
    made.resize(Capacity(tokens, requests), 0.0)
    return made


# --- any history ------------------------------------------------------------------------------

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from("abcd"), st.integers(1, 150)),
        st.tuples(st.just("leave"), st.integers(0, 1000)),
        st.tuples(st.just("resize"), st.integers(0, 200), st.integers(0, 10)),
        st.tuples(st.just("readmit"), st.sampled_from("abcd"), st.integers(1, 50)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(ACTIONS, st.sampled_from([0, 1, 3]))
def test_whatever_happens_the_queue_keeps_its_promises(
    actions: list[tuple], running_per_owner: int
) -> None:
    bounds = QueueBounds(
        waiting=10_000,
        waiting_per_owner=10_000,
        running_per_owner=running_per_owner,
        wait_s=math.inf,
    )
    capacity = Capacity(100, 8)
    q = queue(100, 8, bounds)
    present: list[Request] = []
    readmitted: set[Request] = set()
    for now_s, action in enumerate(actions):
        waiting = [r for r in present if not r.is_granted]
        places = {r: q.position(r).place for r in waiting}
        granted: tuple[Request, ...] = ()
        match action:
            case "ask", owner, cost:
                present.append(q.offer(owner, cost, float(now_s)))
            case "leave", index:
                if present:
                    request = present.pop(index % len(present))
                    granted = q.leave(request, float(now_s))
                    assert q.leave(request, float(now_s)) == ()
            case "resize", tokens, requests:
                capacity = Capacity(tokens, requests)
                granted = q.resize(capacity, float(now_s))
            case "readmit", owner, cost:
                present.append(q.readmit(owner, cost, float(now_s)))
                readmitted.add(present[-1])
            case _:
                raise AssertionError(action)
        _keeps_within_capacity(present, capacity, granted)
        _keeps_owners_order(present, readmitted, running_per_owner)
        _goes_by_place(granted, places, action)
        waiting = [r for r in present if not r.is_granted]
        assert sorted(q.position(r).place for r in waiting) == list(range(1, len(waiting) + 1))
        assert q.standing == Standing(
            sum(r.cost for r in present if r.is_granted),
            sum(r.is_granted for r in present),
            len(waiting),
        )
        ordered = sorted(waiting, key=lambda r: q.position(r).place)
        etas = [q.position(r).eta_s for r in ordered]
        assert etas == sorted(etas)
        assert all(eta >= 0 for eta in etas)


def _keeps_within_capacity(
    present: list[Request], capacity: Capacity, granted: tuple[Request, ...]
) -> None:
    """What was granted just now fits beside the rest, or runs alone."""
    running = [r for r in present if r.is_granted]
    if granted and len(running) > 1:
        assert sum(r.cost for r in running) <= capacity.tokens
        assert len(running) <= capacity.requests


def _keeps_owners_order(
    present: list[Request], readmitted: set[Request], running_per_owner: int
) -> None:
    by_owner: dict[str, list[Request]] = defaultdict(list)
    for request in present:
        by_owner[request.owner_id].append(request)
    for requests in by_owner.values():
        own = [r for r in requests if r not in readmitted]
        assert [r.is_granted for r in own] == sorted((r.is_granted for r in own), reverse=True)
        if running_per_owner and not readmitted:
            assert sum(r.is_granted for r in requests) <= running_per_owner


def _goes_by_place(granted: tuple[Request, ...], places: dict[Request, int], action: tuple) -> None:
    """Without a cap or a leaver in the way, turns come in the order of the places."""
    if action[0] == "resize" and granted:
        assert places[granted[0]] == 1


@settings(max_examples=100, deadline=None)
@given(
    st.integers(2, 5),
    st.lists(st.integers(1, 100), min_size=20, max_size=60),
    st.integers(1, 100),
)
def test_an_owner_with_one_request_is_not_starved_by_one_with_many(
    n_greedy: int, costs: list[int], cost: int
) -> None:
    q = queue(100)
    running = [q.offer(f"greedy-{i % n_greedy}", c, 0.0) for i, c in enumerate(costs)]
    modest = q.offer("modest", cost, 0.0)
    served_before = 0
    while not modest.is_granted:
        first = next(r for r in running if r.is_granted and not r.has_left)
        served_before += sum(r.cost for r in q.leave(first, 1.0) if r is not modest)
    # Each of the others may have one request, the one whose turn it was, and no more.
    assert served_before <= n_greedy * (max(costs) + cost)


@pytest.mark.parametrize("seed", range(5))
def test_owners_who_always_want_more_get_equal_parts(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - repeatable
    q = queue(100)
    sizes = {"small": (1, 10), "large": (20, 50), "mixed": (1, 50)}
    running: list[Request] = []
    waiting: Counter[str] = Counter()
    served: Counter[str] = Counter()

    def ask(owner: str) -> None:
        request = q.offer(owner, chance.randint(*sizes[owner]), 0.0)
        running.append(request) if request.is_granted else waiting.update([owner])

    for _ in range(600):
        for owner in sizes:
            # Never without a waiting request, however many small ones start at once.
            while waiting[owner] < 60:
                ask(owner)
        done = running.pop(chance.randrange(len(running)))
        for request in q.leave(done, 1.0):
            waiting[request.owner_id] -= 1
            served[request.owner_id] += request.cost
            running.append(request)
    assert max(served.values()) - min(served.values()) <= 3 * 50


# --- single promises --------------------------------------------------------------------------


def test_what_exceeds_the_capacity_runs_alone_and_nobody_overtakes_it() -> None:
    q = queue(100)
    first = q.offer("a", 60, 0.0)
    huge = q.offer("b", 500, 0.0)
    small = q.offer("c", 1, 0.0)
    assert (first.is_granted, huge.is_granted, small.is_granted) == (True, False, False)
    assert q.leave(first, 1.0) == (huge,)
    assert q.leave(huge, 2.0) == (small,)


def test_without_any_generator_all_wait_and_go_on_once_there_is_one() -> None:
    q = queue(0, 0)
    request = q.offer("a", 10, 0.0)
    assert not request.is_granted
    assert q.position(request).eta_s > 0
    assert q.resize(Capacity(100, 4), 1.0) == (request,)


def test_one_owner_s_queue_is_bounded_and_others_still_get_in() -> None:
    q = queue(10, bounds=QueueBounds(waiting=5, waiting_per_owner=2, wait_s=math.inf))
    for _ in range(3):
        q.offer("a", 10, 0.0)
    with pytest.raises(RateLimited) as refused:
        q.offer("a", 10, 0.0)
    assert refused.value.context["limit"] == 2
    assert int(refused.value.context["retry_after_s"]) >= 1
    q.offer("b", 10, 0.0)
    assert q.standing.waiting == 3


def test_the_whole_queue_is_bounded() -> None:
    q = queue(10, bounds=QueueBounds(waiting=2, waiting_per_owner=2, wait_s=math.inf))
    for owner in "abc":
        q.offer(owner, 10, 0.0)
    with pytest.raises(Overloaded) as refused:
        q.offer("d", 10, 0.0)
    assert refused.value.status == 429
    assert q.standing.waiting == 2


def test_a_wait_beyond_the_limit_is_refused_at_once_and_ends_in_time() -> None:
    q = queue(10, bounds=QueueBounds(waiting=100, waiting_per_owner=100, wait_s=25))
    q.offer("a", 10, 0.0)
    waiting = [q.offer("a", 10, 0.0), q.offer("a", 10, 0.0)]
    with pytest.raises(Overloaded, match="about 30 s") as refused:
        q.offer("a", 10, 0.0)
    assert refused.value.context["retry_after_s"] == 5
    # Another owner would go first: fairness decides, not the length of the queue.
    waiting.append(q.offer("b", 10, 0.0))
    assert [q.position(r).place for r in waiting] == [2, 3, 1]
    assert q.overdue(waiting[0], 25.0) is None
    assert isinstance(q.overdue(waiting[0], 25.1), Overloaded)


def test_an_owner_s_own_limit_holds_back_only_that_owner() -> None:
    bounds = QueueBounds(waiting=9, waiting_per_owner=9, running_per_owner=1, wait_s=math.inf)
    q = queue(100, bounds=bounds)
    first, second = q.offer("a", 10, 0.0), q.offer("a", 10, 0.0)
    other = q.offer("b", 10, 0.0)
    assert (second.is_granted, other.is_granted) == (False, True)
    assert q.leave(first, 1.0) == (second,)


def test_a_request_that_was_admitted_elsewhere_is_never_refused() -> None:
    q = queue(10, bounds=QueueBounds(waiting=0, waiting_per_owner=0, wait_s=0))
    assert q.offer("a", 10, 0.0).is_granted
    assert q.readmit("a", 10, 0.0).is_granted
    assert q.standing.tokens == 20


@pytest.mark.parametrize("hold_s", [0.5, 4.0, 20.0])
def test_the_eta_is_what_it_then_takes(hold_s: float) -> None:
    """Steady work at full load: after some experience, announced and real waits agree."""
    q = queue(400)
    chance = random.Random(7)  # noqa: S311 - repeatable
    now_s, number = 0.0, 0
    ends: list[tuple[float, int, Request]] = []
    told: dict[Request, tuple[float, float]] = {}
    errors: list[float] = []
    for _ in range(600):
        while q.standing.waiting < 30:
            request = q.offer(chance.choice("abc"), chance.randint(5, 60), now_s)
            number += 1
            if request.is_granted:
                heapq.heappush(ends, (now_s + hold_s * chance.uniform(0.7, 1.3), number, request))
            else:
                told[request] = (now_s, q.position(request).eta_s)
        now_s, _, done = heapq.heappop(ends)
        for request in q.leave(done, now_s):
            number += 1
            heapq.heappush(ends, (now_s + hold_s * chance.uniform(0.7, 1.3), number, request))
            asked_s, eta_s = told.pop(request)
            errors.append((now_s - asked_s) / eta_s)
    late = sorted(errors[200:])
    assert 0.7 < late[len(late) // 2] < 1.4


# --- cost and capacity ------------------------------------------------------------------------


def test_cost_counts_text_pictures_sound_and_the_answer() -> None:
    experience = Experience()
    empty = experience.cost(Demand(max_output_tokens=10))
    assert empty == 11
    assert experience.cost(Demand(prompt_tokens=100, max_output_tokens=10)) == 110
    assert experience.cost(Demand(prompt_bytes=350, max_output_tokens=10)) == 110
    picture = experience.cost(Demand(picture_px=(784 * 100,), max_output_tokens=10))
    assert picture == 110
    huge = experience.cost(Demand(picture_px=(10**9,), max_output_tokens=10))
    assert picture < huge < 10_000
    assert experience.cost(Demand(audio_s=4, max_output_tokens=10)) == 110


def test_predictions_follow_what_answers_turn_out_to_be() -> None:
    experience = Experience()
    generous = Demand(max_output_tokens=4_000)
    before = experience.cost(generous)
    for _ in range(60):
        experience.learn(held_s=1.0, output_tokens=20)
    assert experience.cost(generous) < before / 4
    assert experience.cost(Demand(max_output_tokens=5)) == 6
    for _ in range(60):
        experience.learn(held_s=1.0, output_tokens=3_000)
    assert experience.cost(generous) > 2_500


def _generator(**load: float) -> Beat:
    return Beat(
        process_id="gen", kind="generator", host="h", pid=1, started_ticks=1, load=dict(load)
    )


def test_capacity_is_what_the_generators_hold_together() -> None:
    both = capacity_of([_generator(capacity_tokens=1000, max_running=4)] * 2)
    assert both == Capacity(2000, 10)
    assert capacity_of([]) == Capacity(0, 0)
    assert capacity_of([_generator()]) == Capacity(math.inf, math.inf)


@settings(max_examples=200)
@given(
    st.floats(0, 1e6),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 3.0])), min_size=1, max_size=5),
)
def test_ingresses_share_what_there_is(total: float, parts: list[tuple[float, float]]) -> None:
    whole = Capacity(total, total)
    n = len(parts)
    # Each within its equal part: what all of them may have together is what there is.
    standings = [Standing(part * total / n, part * total / n, waits) for part, waits in parts]
    limits = [
        share(whole, standing, standings[:i] + standings[i + 1 :])
        for i, standing in enumerate(standings)
    ]
    assert all(limit.tokens >= total / n for limit in limits)
    if all(waits for _, waits in parts) and n > 1:
        assert all(limit.tokens == pytest.approx(total / n) for limit in limits)
    free = total - sum(standing.tokens for standing in standings)
    for standing, limit in zip(standings, limits, strict=True):
        assert limit.tokens <= max(total / n, standing.tokens + free / n) + 1e-6


def test_an_ingress_uses_what_idle_ones_leave_until_they_need_it() -> None:
    whole = Capacity(100, 100)
    assert share(whole, Standing(50, 50), [Standing()]) == Capacity(75, 75)
    assert share(whole, Standing(75, 75), [Standing(0, 0, waiting=1)]) == Capacity(50, 50)
    assert share(UNKNOWN_CAPACITY, Standing(), [Standing()]).tokens == math.inf
