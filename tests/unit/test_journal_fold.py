"""Whatever writers do to the journal, all readers agree, and on something sound."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.domain.journal import (
    Adopted,
    Ended,
    JournalRecord,
    ResponseFold,
    Restarted,
    Wrote,
)
from serve.domain.messages import (
    TERMINAL_EVENTS,
    Failed,
    Finished,
    FinishReason,
    Generated,
    LogEvent,
    Stage,
    StageStarted,
    TextDelta,
    Usage,
)
from serve.storage.codec import apply_record_json, encode_records
from serve.storage.redis.checkpoints import checkpoint_fields, read_checkpoint

ID = "resp_1"
FINISHED = Finished(FinishReason.STOP, Usage(), 1.0)
GENERATED = Generated(FinishReason.STOP, Usage(), 0.0, 0.0, 0.0)


@dataclass
class Generator:
    """Goes on behind ``emitted``, for as long as anybody lets it: it never learns it is a zombie.

    Its tokens are nobody else's, so the outcome shows who wrote what.
    """

    number: int
    epoch: int
    seq: int
    emitted: tuple[int, ...]
    n_written: int = 0

    def write(self, n_tokens: int, *, is_last: bool) -> Wrote:
        tokens = [1000 * self.number + self.n_written + each for each in range(n_tokens)]
        events: list[LogEvent] = [TextDelta(f"t{token}", (token,)) for token in tokens]
        if is_last:
            events.append(GENERATED)
        record = Wrote(ID, self.epoch, self.seq, tuple(events))
        self.seq += len(events)
        self.n_written += n_tokens
        return record


@dataclass
class Supervisor:
    """Acts on what it has read so far, which may be long out of date."""

    name: str
    term: int
    fold: ResponseFold = field(default_factory=lambda: ResponseFold(ID))
    n_read: int = 0

    def read(self, journal: list[JournalRecord], n_records: int) -> None:
        for record in journal[self.n_read : self.n_read + n_records]:
            self.fold.apply(record)
            self.n_read += 1


@dataclass
class World:
    journal: list[JournalRecord] = field(default_factory=list)
    supervisors: list[Supervisor] = field(default_factory=lambda: [Supervisor("p0", 1)])
    generators: list[Generator] = field(default_factory=list)

    def step(self, action: str, who: int, number: int) -> None:
        supervisor = self.supervisors[who % len(self.supervisors)]
        match action:
            case "read":
                supervisor.read(self.journal, number)
            case "generate" if self.generators:
                generator = self.generators[who % len(self.generators)]
                self.journal.append(generator.write(number % 4 + 1, is_last=number == 9))
            case "repeat" if self.journal:
                self.journal.append(self.journal[-1 - number % len(self.journal)])
            case _:
                self._supervise(action, supervisor)

    def _supervise(self, action: str, supervisor: Supervisor) -> None:
        fold, term = supervisor.fold, supervisor.term
        match action:
            case "stage":
                events = (StageStarted(Stage.LOOKING, "", 1.0),)
                self.journal.append(Wrote(ID, fold.epoch, fold.next_seq, events))
            case "start":
                number = len(self.generators) + 1
                self.generators.append(
                    Generator(number, fold.epoch, fold.next_seq, fold.emitted_ids())
                )
            case "restart":
                self.journal.append(Restarted(ID, term, fold.epoch + 1))
            case "adopt":
                name = f"p{len(self.supervisors)}"
                self.journal.append(Adopted(ID, fold.term + 1, name))
                heir = Supervisor(name, fold.term + 1)
                heir.read(self.journal, len(self.journal))
                self.supervisors.append(heir)
            case "finish" if fold.generated is not None:
                self.journal.append(Ended(ID, term, FINISHED))
            case "fail":
                self.journal.append(Ended(ID, term, Failed("broken", "It broke.", 1.0)))
            case _:
                pass


# Writing is drawn more often than what ends a story early.
ACTIONS = st.sampled_from(
    ["read"] * 4 + ["generate"] * 6 + ["stage", "start", "start", "restart", "restart"]
    + ["adopt", "repeat", "repeat", "finish", "finish", "fail"]
)  # fmt: skip
STEPS = st.lists(st.tuples(ACTIONS, st.integers(0, 9), st.integers(0, 9)), max_size=40)
PLACES = st.lists(st.integers(0, 60), min_size=1, max_size=4)


def told(steps: list[tuple[str, int, int]]) -> World:
    world = World()
    for step in steps:
        world.step(*step)
    return world


def folded(journal: list[JournalRecord]) -> ResponseFold:
    fold = ResponseFold(ID)
    for record in journal:
        fold.apply(record)
    return fold


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_what_counts_is_numbered_without_gap_and_nothing_follows_the_end(
    steps: list[tuple[str, int, int]],
) -> None:
    world = told(steps)
    fold = ResponseFold(ID)
    for record in world.journal:
        before = list(fold.entries)
        counts = fold.apply(record)
        # What a reader has seen stays: entries are only ever added, and only by what counts.
        assert fold.entries[: len(before)] == before
        assert counts or fold.entries == before
    assert [entry.seq for entry in fold.entries] == list(range(fold.next_seq))
    ends = [entry for entry in fold.entries if isinstance(entry.event, TERMINAL_EVENTS)]
    assert ends == (fold.entries[-1:] if fold.has_ended else [])


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_each_generator_continues_what_readers_have_and_none_speaks_twice(
    steps: list[tuple[str, int, int]],
) -> None:
    world = told(steps)
    tokens = folded(world.journal).emitted_ids()
    assert len(set(tokens)) == len(tokens)
    for generator in world.generators:
        own = [token for token in tokens if token // 1000 == generator.number]
        if own:
            first = tokens.index(own[0])
            assert tokens[:first] == generator.emitted
            assert list(tokens[first : first + len(own)]) == own
            assert own == [1000 * generator.number + n for n in range(len(own))]


@settings(max_examples=400, deadline=None)
@given(STEPS, PLACES)
def test_a_reader_with_any_checkpoint_ends_with_the_same(
    steps: list[tuple[str, int, int]], places: list[int]
) -> None:
    journal = told(steps).journal
    expected = folded(journal)
    fields: dict[bytes, bytes] = {}
    n_kept = 0
    # Several processes make checkpoints at places of their own, in an order of their own.
    for process, place in enumerate(places):
        known = journal[: place % (len(journal) + 1)]
        fold = folded(known)
        fields |= checkpoint_fields(
            fold, (1, len(known)), process_id=f"p{process % 2}", n_kept=min(n_kept, fold.next_seq)
        )
        n_kept = fold.next_seq if process % 2 else 0
    checkpoint = read_checkpoint(ID, fields)
    fold = deepcopy(checkpoint.fold)
    for record in journal[checkpoint.position[1] :]:
        [parsed] = orjson.loads(encode_records([record]))
        apply_record_json(fold, parsed)
    assert fold == expected


def test_words_of_a_generator_that_was_given_up_count_no_more() -> None:
    fold = folded(
        [
            Wrote(ID, 1, 0, (TextDelta("a", (1,)),)),
            Restarted(ID, 1, 2),
            Wrote(ID, 1, 1, (TextDelta("late", (2,)),)),
            Wrote(ID, 2, 1, (TextDelta("b", (3,)),)),
        ]
    )
    assert fold.emitted_ids() == (1, 3)


def test_only_the_supervisor_of_the_term_restarts_or_ends() -> None:
    fold = folded([Adopted(ID, 2, "heir"), Restarted(ID, 1, 2), Ended(ID, 1, FINISHED)])
    assert (fold.supervisor, fold.epoch, fold.has_ended) == ("heir", 1, False)
    assert fold.apply(Ended(ID, 2, FINISHED))


def test_of_two_heirs_the_first_one_counts() -> None:
    fold = folded([Adopted(ID, 2, "first"), Adopted(ID, 2, "second")])
    assert fold.supervisor == "first"


def test_a_gap_stays_until_the_next_epoch() -> None:
    fold = folded([Wrote(ID, 1, 1, (TextDelta("b", (2,)),))])
    assert (fold.has_gap, fold.entries) == (True, [])
    fold.apply(Restarted(ID, 1, 2))
    assert not fold.has_gap
    assert fold.apply(Wrote(ID, 2, 0, (TextDelta("a", (1,)),)))
