"""Numbers of the load tester, against values known otherwise."""

from __future__ import annotations

from array import array

import orjson
import pytest

from benchmarks.load.client import retry_after_s
from benchmarks.load.engine import round_of
from benchmarks.load.outcomes import Measured, Outcome
from benchmarks.load.processes import Snapshot, role_of, spent_s
from benchmarks.load.rounds import Round
from benchmarks.load.schedule import Level, arriving
from benchmarks.load.statistics import difference, estimate, paired, quantiles, ratio
from benchmarks.load.summary import Goal, estimates, is_engine, metrics_of, summarise
from benchmarks.load.wire import Address
from benchmarks.load.workload import BadWorkload, Lengths, Workload


def test_quantiles_interpolate() -> None:
    found = quantiles([float(n) for n in range(1, 101)])
    assert found is not None
    assert len(found) == 101
    assert (found[0], found[50], found[100]) == (1.0, 50.5, 100.0)
    assert found[90] == pytest.approx(90.1)
    assert quantiles([]) is None


def test_an_interval_holds_the_median_and_stays_in_the_range() -> None:
    found = estimate([10.0, 11.0, 12.0, 13.0, 30.0])
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.value == 12.0
    assert 10.0 <= found.low <= 12.0 <= found.high <= 30.0
    same = estimate([5.0] * 4)
    assert same is not None
    assert (same.low, same.value, same.high) == (5.0, 5.0, 5.0)


def test_one_round_has_no_interval_and_none_has_no_estimate() -> None:
    found = estimate([3.0])
    assert found is not None
    assert (found.value, found.low, found.high) == (3.0, None, None)
    assert estimate([]) is None


def test_ratios_are_of_rounds_not_of_medians() -> None:
    # The machine slowed down threefold; each round says "twice as slow".
    pairs = paired([2.0, 4.0, None, 6.0], [1.0, 2.0, 9.0, 3.0])
    assert len(pairs) == 3
    made, added = ratio(pairs), difference(pairs)
    assert made is not None
    assert added is not None
    assert (made.low, made.value, made.high) == (2.0, 2.0, 2.0)
    assert added.value == 2.0


def outcome(intended: float, *times: float, n_tokens: int = 0, kind: str = "ok") -> Outcome:
    return Outcome(
        intended_at_s=intended,
        started_at_s=intended + 0.5,
        ended_at_s=times[-1],
        frame_times_s=array("d", times),
        output_tokens=n_tokens or len(times),
        kind=kind,
    )


def test_latency_counts_from_when_the_request_was_meant_to_be_sent() -> None:
    answered = outcome(10.0, 11.0, 11.2, 11.6, n_tokens=5)
    assert answered.ttft_s == 1.0
    assert answered.total_s == pytest.approx(1.6)
    assert answered.gaps_s == pytest.approx([0.2, 0.4])
    assert answered.tpot_s == pytest.approx(0.15)
    assert outcome(0.0, 1.0).tpot_s is None


def test_a_round_counts_failures_apart() -> None:
    outcomes = [outcome(0, 1, 2), outcome(0, 3, 5), outcome(0, 9, kind="broken")]
    found = summarise(Measured(outcomes, wall_s=2.0), Goal.parse("ttft=1500ms,itl=1s"))
    assert (found.n_requests, found.n_ok, found.errors) == (3, 2, {"broken": 1})
    assert found.tokens_per_s == 2.0
    assert found.requests_per_s == 1.0
    assert found.good_share == pytest.approx(1 / 3)
    assert found.good_per_s == pytest.approx(0.5)
    assert found.ttft_ms is not None
    assert (found.ttft_ms[0], found.ttft_ms[100]) == (1000.0, 3000.0)
    assert found.longest_gap_ms == 2000.0
    assert estimates([found, found])["error_share"].value == pytest.approx(1 / 3)


def test_goals_are_read_with_their_units() -> None:
    goal = Goal.parse("ttft=0.5s, tpot=50ms,total=2s")
    assert (goal.ttft_s, goal.tpot_s, goal.total_s, goal.itl_s) == (0.5, 0.05, 2.0, None)
    assert goal.is_met(outcome(0, 0.4, 0.44))
    assert not goal.is_met(outcome(0, 0.4, 0.46))
    assert not goal.is_met(outcome(0, 0.4, kind="timeout"))
    with pytest.raises(BadWorkload):
        Goal.parse("ttft=500")


def test_processor_time_is_billed_to_roles_with_and_without_the_engine() -> None:
    before = Snapshot({(1, 0.0): 1.0, (2, 0.0): 5.0}, {(1, 0.0): "web", (2, 0.0): "gone"})
    roles = {(1, 0.0): "web", (3, 9.0): "VLLM::EngineCore", (2, 7.0): "web"}
    after = Snapshot({(1, 0.0): 1.5, (3, 9.0): 2.0, (2, 7.0): 0.25}, roles)
    spent = spent_s(before, after)
    assert spent == {"web": 0.75, "VLLM::EngineCore": 2.0}
    found = summarise(Measured([outcome(0, 1, 2, n_tokens=10)], wall_s=1.0), None)
    found.cpu_s.update(spent)
    metrics = metrics_of(found)
    assert metrics["serving_cpu_us_per_token"] == pytest.approx(75_000)
    assert metrics["cpu_us_per_token"] == pytest.approx(275_000)
    assert metrics["good_share"] is None
    assert metrics["serving_above_idle_us_per_token"] is None
    found.idle_cpu_s.update({"web": 0.25, "VLLM::EngineCore": 0.5})
    assert metrics_of(found)["serving_above_idle_us_per_token"] == pytest.approx(50_000)


@pytest.mark.parametrize(
    ("cmdline", "role"),
    [
        (["ray::ServeReplica:polymodal:Ingress"], "Ingress"),
        (["ray::ServeReplica:polymodal:Generator-echo.generate"], "Generator-echo.generate"),
        (["ray::ServeController.run_control_loop"], "ray::ServeController.run_control_loop"),
        (["ray::IDLE", ""], "ray::IDLE"),
        (["VLLM::EngineCore"], "VLLM::EngineCore"),
        (["postgres: checkpointer "], "postgres"),
        (["/opt/x/valkey-server 127.0.0.1:6379"], "valkey-server"),
        (["/usr/bin/python3", "-u", "-m", "serve.cli", "up"], "serve.cli"),
        (["python", "/srv/app.py"], "app.py"),
        (
            ["python3.11", "-B", "-sE", "-c", "from multiprocessing.spawn import x"],
            "multiprocessing child",
        ),
        (["python3", "-c", "pass"], "python -c"),
        (["python3"], "python3"),
    ],
)
def test_processes_are_named_by_what_they_do(cmdline: list[str], role: str) -> None:
    assert role_of(cmdline) == role


def test_engines_are_told_from_what_delivers() -> None:
    assert is_engine("VLLM::EngineCore")
    assert is_engine("Generator-echo")
    assert not is_engine("Ingress")


def test_equal_seeds_ask_the_same() -> None:
    workload = Workload(prompt_tokens=Lengths.parse("5-9"), shared_prefix_tokens=3, seed=4)
    again = Workload(prompt_tokens=Lengths.parse("5-9"), shared_prefix_tokens=3, seed=4)
    assert workload.session(1, 2) == again.session(1, 2)
    first, second = workload.session(1, 2), workload.session(1, 3)
    assert first != second
    words = first.turns[0].text.split()
    assert words[:3] == second.turns[0].text.split()[:3]
    assert 5 <= len(words) - 3 <= 9


def test_lengths_are_fixed_uniform_or_log_normal() -> None:
    import random

    dice = random.Random(1)  # noqa: S311 - no secret
    assert {Lengths.parse("7").draw(dice) for _ in range(20)} == {7}
    assert {Lengths.parse("2-4").draw(dice) for _ in range(200)} == {2, 3, 4}
    drawn = sorted(Lengths.parse("100~0.5").draw(dice) for _ in range(2001))
    assert 90 < drawn[1000] < 110
    assert drawn[1900] > 200
    for bad in ("", "0", "9-3", "a~b"):
        with pytest.raises(BadWorkload):
            Lengths.parse(bad)


def test_poisson_arrivals_come_at_the_rate_until_the_time_is_up() -> None:
    workload = Workload()
    level = Level(rate_per_s=50.0, duration_s=40.0)
    times = [session.at_s for session in arriving(lambda n: workload.session(0, n), level, "s")]
    assert 1800 < len(times) < 2200
    assert times == sorted(times)
    assert times[-1] <= 40.0
    even = Level(rate_per_s=4.0, arrivals="constant", n_sessions=3)
    assert [s.at_s for s in arriving(lambda n: workload.session(0, n), even, "s")] == [
        0.25,
        0.5,
        0.75,
    ]


def test_a_round_reaches_the_engine_s_process_unchanged() -> None:
    workload = Workload(prompt_tokens=Lengths.parse("5~0.5"), n_turns=2, seed=3)
    task = Round(Level(concurrency=2, n_sessions=5), workload, 7, (workload.session(0, 1),))
    assert round_of(orjson.loads(orjson.dumps(task))) == task


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_s({"retry-after": "1.5"}) == 1.5
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({}) is None


def test_addresses_are_taken_as_openai_clients_write_them() -> None:
    assert Address.of("http://h:9/v1/") == Address("h", 9, is_tls=False, prefix="")
    assert Address.of("https://h/base/v1") == Address("h", 443, is_tls=True, prefix="/base")
    assert Address.of("http://[::1]:8/").authority == "[::1]:8"
