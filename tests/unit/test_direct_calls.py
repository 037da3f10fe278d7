"""Calls that go straight to a generator, over real sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.direct_calls.client import DirectCalls
from serve.direct_calls.frames import (
    BadFrame,
    FrameBuffer,
    Kind,
    error_from_json,
    error_to_json,
    frame,
    request_from_json,
    request_to_json,
)
from serve.direct_calls.server import CallServer, loopback
from serve.domain.affinity import ranked
from serve.domain.errors import (
    ContextLengthExceeded,
    EngineDead,
    InternalError,
    PolymodalError,
)
from serve.domain.journal import Beat
from serve.domain.media import Making, MediaKind, MediaRef
from serve.domain.messages import (
    ChatMessage,
    FeatureRef,
    GenerationRequest,
    NativeMediaPart,
    Sampling,
    TextPart,
    ToolCall,
    ToolSpec,
)


def ask(response_id: str = "resp_1", affinity: str = "key") -> GenerationRequest:
    return GenerationRequest(
        response_id=response_id, model="m", messages=(), sampling=Sampling(), affinity=affinity
    )


WHOLE = GenerationRequest(
    response_id="resp_1",
    model="m",
    messages=(
        ChatMessage(role="system", parts=(TextPart("Be brief. ✂"),)),
        ChatMessage(
            role="user",
            parts=(
                TextPart("What is this?"),
                NativeMediaPart(
                    MediaRef(
                        asset_id="asset_1",
                        owner_id="user_1",
                        kind=MediaKind.IMAGE,
                        mime_type="image/png",
                        content_hash="00",
                        storage_key="assets/1",
                        n_bytes=1,
                        width_px=2,
                        height_px=3,
                        created_at=datetime(2026, 1, 2, tzinfo=UTC),
                        making=Making(action="c2pa.created", model="m", recipe={"seed": 1}),
                    ),
                    FeatureRef(key="k", n_tokens=4, dim=8),
                ),
            ),
        ),
        ChatMessage(
            role="assistant", tool_calls=(ToolCall(call_id="c", name="f", arguments="{}"),)
        ),
        ChatMessage(role="tool", parts=(TextPart("42"),), tool_call_id="c"),
    ),
    sampling=Sampling(max_output_tokens=5, temperature=0.5, seed=1, stop=("a", "b")),
    epoch=3,
    first_seq=17,
    emitted_ids=(1, 2, 3),
    emitted_calls=1,
    affinity="key",
    tools=(ToolSpec(name="f", description="d", parameters_json="{}"),),
    tool_choice="f",
    parallel_tool_calls=False,
    json_schema="{}",
)


@dataclass
class Replica:
    """What a generator replica is to its callers."""

    name: str
    work: Callable[[GenerationRequest], Awaitable[None]] | None = None
    got: list[GenerationRequest] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    load: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = CallServer(self._generate, loopback)

    async def _generate(self, request: GenerationRequest) -> None:
        self.got.append(request)
        try:
            if self.work is None:
                await self.go_on.wait()
            else:
                await self.work(request)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")

    def beat(self, password: str | None = None) -> Beat:
        return Beat(
            process_id=self.name,
            kind="generator",
            host="",
            pid=0,
            started_ticks=0,
            model="m",
            load=self.load,
            address=self.server.address,
            password=self.server.password if password is None else password,
        )


class ByServe:
    """The other way to the generators."""

    def __init__(self) -> None:
        self.got: list[GenerationRequest] = []

    async def generate(self, request: GenerationRequest) -> None:
        self.got.append(request)


@dataclass
class World:
    """Replicas that beat, and one ingress that hears them."""

    stack: AsyncExitStack
    beats: list[Beat] = field(default_factory=list)
    by_serve: ByServe = field(default_factory=ByServe)

    async def add(self, name: str, **kwargs: object) -> tuple[Replica, AsyncExitStack]:
        """A replica, and what ends it when closed."""
        replica = Replica(name, **kwargs)  # type: ignore[arg-type]  # checked when run
        life = await self.stack.enter_async_context(AsyncExitStack())
        await life.enter_async_context(replica.server.listening())
        self.beats.append(replica.beat())
        return replica, life

    async def ingress(self) -> DirectCalls:
        return await self.stack.enter_async_context(DirectCalls(lambda _: self.beats).opened())


@pytest.fixture(autouse=True)
def all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As in the service: what is told there must not fail there."""
    caplog.set_level(logging.DEBUG)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stack)


async def at_once(_: GenerationRequest) -> None:
    """Work that is done as soon as it begins."""


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for is the code under test
            await asyncio.sleep(0.005)


async def test_a_request_arrives_as_it_was_sent(world: World) -> None:
    replica, _ = await world.add("one", work=at_once)
    generator = (await world.ingress()).generator("m", world.by_serve)
    await generator.generate(WHOLE)
    assert replica.got == [WHOLE]
    assert not world.by_serve.got


async def test_what_a_replica_refuses_with_arrives_as_it_is(world: World) -> None:
    async def refuse(_: GenerationRequest) -> None:
        raise ContextLengthExceeded("too long", param="input", prompt_tokens=9, window_tokens=8)

    await world.add("one", work=refuse)
    generator = (await world.ingress()).generator("m", world.by_serve)
    with pytest.raises(ContextLengthExceeded, match="too long") as refused:
        await generator.generate(ask())
    assert refused.value.param == "input"
    assert refused.value.context == {"prompt_tokens": 9, "window_tokens": 8}


async def test_a_bug_in_a_replica_is_an_internal_error_without_its_words(world: World) -> None:
    async def fail(_: GenerationRequest) -> None:
        raise KeyError("secret")

    await world.add("one", work=fail)
    generator = (await world.ingress()).generator("m", world.by_serve)
    with pytest.raises(InternalError) as failed:
        await generator.generate(ask())
    assert "secret" not in failed.value.message


async def test_many_calls_share_a_connection_and_end_in_any_order(world: World) -> None:
    async def slowly(request: GenerationRequest) -> None:
        await asyncio.sleep(0.001 * (50 - request.epoch))

    replica, _ = await world.add("one", work=slowly)
    generator = (await world.ingress()).generator("m", world.by_serve)
    asked = [
        GenerationRequest(
            response_id=f"resp_{n}", model="m", messages=(), sampling=Sampling(), epoch=n
        )
        for n in range(50)
    ]
    await asyncio.gather(*map(generator.generate, asked))
    assert sorted(each.epoch for each in replica.got) == list(range(50))


async def test_a_cancelled_call_ends_the_work(world: World) -> None:
    replica, _ = await world.add("one")
    generator = (await world.ingress()).generator("m", world.by_serve)
    call = asyncio.ensure_future(generator.generate(ask()))
    await until(lambda: len(replica.got) == 1)
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call
    await until(lambda: replica.ended == ["cancelled"])


async def test_an_ingress_that_leaves_lets_the_work_go_on(world: World) -> None:
    replica, _ = await world.add("one")
    async with DirectCalls(lambda _: world.beats).opened() as calls:
        call = asyncio.ensure_future(calls.generator("m", world.by_serve).generate(ask()))
        await until(lambda: len(replica.got) == 1)
    with pytest.raises(EngineDead):
        await call
    replica.go_on.set()
    await until(lambda: replica.ended == ["done"])


async def test_calls_hear_at_once_of_a_replica_that_dies_and_then_go_elsewhere(
    world: World,
) -> None:
    first, second = ranked("key", ["one", "two"])
    dying, life = await world.add(first)
    living, _ = await world.add(second, work=at_once)
    generator = (await world.ingress()).generator("m", world.by_serve)
    call = asyncio.ensure_future(generator.generate(ask()))
    await until(lambda: len(dying.got) == 1)
    await life.aclose()
    with pytest.raises(EngineDead, match="nothing was lost"):
        await call
    # Its last beat still counts as news.
    await generator.generate(ask())
    assert len(living.got) == 1


async def test_without_a_replica_to_be_reached_serve_has_the_call(world: World) -> None:
    generator = (await world.ingress()).generator("m", world.by_serve)
    await generator.generate(ask())
    _, life = await world.add("one", work=at_once)
    await life.aclose()
    await generator.generate(ask())
    assert len(world.by_serve.got) == 2


async def test_equal_keys_have_one_home_until_it_is_too_busy(world: World) -> None:
    home, other = ranked("key", ["one", "two"])
    replicas = {name: (await world.add(name))[0] for name in (home, other)}
    generator = (await world.ingress()).generator("m", world.by_serve)
    calls = [asyncio.ensure_future(generator.generate(ask(f"resp_{n}"))) for n in range(12)]
    await until(lambda: sum(len(each.got) for each in replicas.values()) == 12)
    # 1.25 times the average of 6, plus one, plus the call that was let in.
    assert 6 < len(replicas[home].got) <= 9
    for each in replicas.values():
        each.go_on.set()
    await asyncio.gather(*calls)


async def test_a_replica_that_says_it_is_busy_is_passed_over(world: World) -> None:
    home, other = ranked("key", ["one", "two"])
    busy, _ = await world.add(home, work=at_once, load={"running": 30.0, "waiting": 2.0})
    idle, _ = await world.add(other, work=at_once)
    await (await world.ingress()).generator("m", world.by_serve).generate(ask())
    assert len(idle.got) == 1
    assert not busy.got


async def test_a_replica_of_another_model_is_not_called(world: World) -> None:
    replica, _ = await world.add("one", work=at_once)
    await (await world.ingress()).generator("other", world.by_serve).generate(ask())
    assert not replica.got
    assert len(world.by_serve.got) == 1


async def test_a_replica_that_leaves_ends_its_work_and_gets_no_more(world: World) -> None:
    leaving, _ = await world.add("one")
    generator = (await world.ingress()).generator("m", world.by_serve)
    call = asyncio.ensure_future(generator.generate(ask("resp_1")))
    await until(lambda: len(leaving.got) == 1)
    departure = asyncio.ensure_future(leaving.server.leave())
    await asyncio.sleep(0.05)
    assert not departure.done()
    await generator.generate(ask("resp_2"))
    assert [each.response_id for each in world.by_serve.got] == ["resp_2"]
    leaving.go_on.set()
    await call
    await departure


async def test_who_does_not_know_the_password_is_hung_up_on(world: World) -> None:
    replica, _ = await world.add("one", work=at_once)
    world.beats[:] = [replica.beat(password="guessed")]
    generator = (await world.ingress()).generator("m", world.by_serve)
    with pytest.raises(EngineDead):
        await generator.generate(ask())
    assert not replica.got


@pytest.mark.parametrize(
    "said",
    [
        frame(Kind.CALL, 1, request_to_json(ask())),
        frame(Kind.PASSWORD, payload=b""),
        b"\xff\xff\xff\xff" + frame(Kind.PASSWORD)[4:],
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
    ids=["a call", "no password", "gigabytes", "a browser"],
)
async def test_a_stranger_gets_no_word(world: World, said: bytes) -> None:
    replica, _ = await world.add("one", work=at_once)
    host, _, port = replica.server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    assert not replica.got


async def test_a_caller_that_babbles_is_hung_up_on_and_others_go_on(world: World) -> None:
    replica, _ = await world.add("one")
    generator = (await world.ingress()).generator("m", world.by_serve)
    call = asyncio.ensure_future(generator.generate(ask()))
    await until(lambda: len(replica.got) == 1)
    host, _, port = replica.server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(frame(Kind.PASSWORD, payload=replica.server.password.encode()))
    writer.write(frame(Kind.LEAVING))
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    replica.go_on.set()
    await call


# --- frames -----------------------------------------------------------------------------------

_FRAMES = st.lists(
    st.tuples(st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.binary(max_size=40)), max_size=8
)


@given(frames=_FRAMES, cuts=st.lists(st.integers(1, 30), max_size=40))
def test_frames_survive_any_cutting(frames: list[tuple[Kind, int, bytes]], cuts: list[int]) -> None:
    sent = b"".join(frame(*each) for each in frames)
    buffer = FrameBuffer(40)
    got: list[tuple[Kind, int, bytes]] = []
    for cut in [*cuts, len(sent)]:
        got += buffer.feed(sent[:cut])
        sent = sent[cut:]
    assert got == frames


@given(st.binary(max_size=200))
def test_garbage_is_a_bad_frame_or_nothing_yet(garbage: bytes) -> None:
    with suppress(BadFrame):
        for each in FrameBuffer(1 << 10).feed(garbage):
            request_from_json(each.payload)


def test_an_error_of_a_kind_unknown_here_is_internal() -> None:
    class OfANewerVersion(PolymodalError):
        pass

    payload = error_to_json(OfANewerVersion("new")).replace(b"OfANewer", b"OfAnOlder")
    assert type(error_from_json(payload)) is InternalError
