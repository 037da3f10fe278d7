"""What a fault run says of its rounds."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from benchmarks.faults.ledger import Account
from benchmarks.faults.rounds import Outcome
from benchmarks.faults.summary import figures, raw, table

_CLEAN = Outcome(
    role="ingress",
    fault="kill",
    n_exact=2,
    problems={},
    gaps_s=[0.2, 0.4],
    gaps_before_s=[0.1, 0.1],
    n_resumed=1,
    n_asked_again=0,
    n_newcomers=50,
    n_not_found=0,
    failures={"/healthz: broken": 1},
    outage_s=0.1,
    outage_before_s=0.05,
    answer_outage_s=0.3,
    own_delay_s=0.01,
    replaced_s=3.0,
    was_left_stopped=False,
    account=Account(lost=0, doubled=0, unfinished=0),
    abandoned=0,
)
_LOSING = replace(
    _CLEAN,
    n_exact=1,
    problems={"not whole in time": 1},
    gaps_s=[0.2, 9.0],
    replaced_s=None,
    account=Account(lost=1, doubled=1, unfinished=0),
)


def test_rounds_of_one_kind_are_counted_together() -> None:
    told = figures([_CLEAN, _LOSING])
    assert (told["n_exactly_once"], told["n_streams"]) == (3, 4)
    assert told["problems"] == {"not whole in time": 1}
    assert told["failures"] == {"/healthz: broken": 2}
    assert told["gap_s"]["max"] == 9.0
    assert (told["lost"], told["doubled"]) == (1, 1)
    assert told["own_delay_s"] == {"p50": 0.01, "max": 0.01}
    assert told["replaced_s"] == {"p50": 3.0, "max": 3.0}
    assert told["n_not_replaced"] == 1


def test_a_round_is_kept_as_plain_values() -> None:
    kept = raw(_LOSING)
    assert kept["account"] == {"lost": 1, "doubled": 1, "unfinished": 0}
    assert kept["gap_s"] == {"p50": 9.0, "p99": 9.0, "max": 9.0}
    assert kept["gap_before_s"]["max"] == 0.1


def test_the_table_names_what_is_not_there() -> None:
    console = Console(width=150)
    with console.capture() as shown:
        console.print(table({("ingress", "kill"): figures([_CLEAN]), ("proxy", "kill"): None}))
    assert "2/2" in shown.get()
    assert "none runs" in shown.get()
