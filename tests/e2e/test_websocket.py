"""The browser's line: the same events, resumed without a seam."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from tests.fixtures.running import QUICK, Running

pytestmark = [pytest.mark.e2e, pytest.mark.models]


@asynccontextmanager
async def _line(
    running: Running, browser: httpx.Client, origin: str | None = None
) -> AsyncIterator[ClientConnection]:
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    url = running.url.replace("http://", "ws://") + "/api/v1/ws"
    headers = {"cookie": cookies}
    async with connect(
        url, additional_headers=headers, origin=Origin(origin or running.url), proxy=None
    ) as socket:
        yield socket


async def _send(socket: ClientConnection, **message: object) -> None:
    await socket.send(json.dumps(message))


async def _receive(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await socket.recv())
    return message


async def test_an_answer_survives_its_socket_and_is_resumed(running: Running) -> None:
    with running.signed_in() as browser:
        conversation = browser.post("/v1/conversations", json={}).json()["id"]
        body = {
            "model": QUICK,
            "conversation": conversation,
            "input": "Tell me about the sea.",
            "max_output_tokens": 60,
        }
        told: list[dict[str, Any]] = []
        message: dict[str, Any] = {}
        async with _line(running, browser) as socket:
            await _send(socket, type="response.create", client_id="c1", response=body)
            while sum(event["type"].endswith("text.delta") for event in told) < 3:
                message = await _receive(socket)
                assert message["client_id"] == "c1"
                told.append(message["event"])
        response_id = message["response_id"]
        stages = [event for event in told if event["type"] == "polymodal.stage"]
        assert [stage["stage"] for stage in stages] == ["reading", "writing"]
        last = told[-1]["sequence_number"]
        async with _line(running, browser) as socket:
            await _send(
                socket, type="response.subscribe", response_id=response_id, starting_after=last
            )
            while told[-1]["type"] not in ("response.completed", "response.incomplete"):
                told.append((await _receive(socket))["event"])
        numbered = [event for event in told if event["type"] != "polymodal.stage"]
        assert [event["sequence_number"] for event in numbered] == list(range(len(numbered)))
        text = "".join(e["delta"] for e in numbered if e["type"].endswith("text.delta"))
        kept = browser.get(f"/v1/responses/{response_id}").json()
        assert kept["output"][0]["content"][0]["text"] == text
        assert browser.get(f"/api/v1/conversations/{conversation}/active").json() == {
            "response_id": None
        }
        [listed] = browser.get("/api/v1/conversations").json()["data"]
        assert listed["title"] == "Tell me about the sea."


async def test_two_tabs_watch_one_answer_and_either_can_stop_it(running: Running) -> None:
    with running.signed_in() as browser:
        body = {"model": QUICK, "input": "Write a long story.", "max_output_tokens": 900}
        async with _line(running, browser) as first, _line(running, browser) as second:
            await _send(first, type="response.create", client_id="c1", response=body)
            response_id = (await _receive(first))["response_id"]
            await _send(second, type="response.subscribe", response_id=response_id)
            assert (await _receive(second))["event"]["type"] == "response.created"
            await _send(second, type="response.cancel", response_id=response_id)
            for socket in (first, second):
                event = (await _receive(socket))["event"]
                while event["type"] != "response.incomplete":
                    event = (await _receive(socket))["event"]
                assert event["response"]["status"] == "cancelled"


async def test_errors_come_in_the_same_envelope(running: Running) -> None:
    with running.signed_in() as browser, running.signed_in() as other:
        async with _line(running, browser) as socket:
            await socket.send("{not json")
            assert (await _receive(socket))["error"]["code"] == "malformed_json"
            await _send(socket, type="response.create", client_id="c1", response={"nput": "x"})
            refused = await _receive(socket)
            assert refused["error"]["type"] == "invalid_request_error"
            await _send(socket, type="response.subscribe", response_id="resp_none")
            assert (await _receive(socket))["error"]["code"] == "not_found"
            await _send(socket, type="ping")
            assert await _receive(socket) == {"type": "pong"}
        theirs = other.post(
            "/v1/responses", json={"model": QUICK, "input": "Hi", "max_output_tokens": 2}
        ).json()["id"]
        async with _line(running, browser) as socket:
            await _send(socket, type="response.subscribe", response_id=theirs)
            assert (await _receive(socket))["error"]["code"] == "not_found"


async def test_strangers_and_other_sites_are_turned_away(running: Running) -> None:
    with running.signed_in() as browser, httpx.Client() as stranger:
        for client, origin, code in (
            (stranger, running.url, 4401),
            (browser, "https://evil.example", 4403),
        ):
            async with _line(running, client, origin) as socket:
                assert "error" in await _receive(socket)
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == code
