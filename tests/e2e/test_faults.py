"""What clients notice when parts of a running service are killed or stopped: nothing but a pause.

``polymodal bench faults`` does the same at full size.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import psutil
import pytest
from playwright.async_api import Browser, BrowserContext, Page, WebSocket, expect

from benchmarks.faults.ledger import Account, Ledger
from benchmarks.faults.processes import Fault, Household, Member, Role
from benchmarks.faults.rounds import FaultRounds, Load, Target
from benchmarks.load.wire import Address
from deployments.echo_generator import echo_text
from serve.config.settings import load_settings
from tests.fixtures.browsing import no_findings, signed_in
from tests.fixtures.running import ECHO, Running

pytestmark = [pytest.mark.e2e, pytest.mark.models]

_ANSWER_LIMIT_MS = 90_000
_AWAY_LIMIT_MS = 15_000
# Counts how often the last answer on the page became shorter from one frame to the next.
_WATCH_FOR_LOST_TEXT = """() => {
  let before = 0;
  window.timesShorter = 0;
  const look = () => {
    const text = [...document.querySelectorAll(".prose-answer")].at(-1)?.innerText ?? "";
    if (text.length < before) window.timesShorter += 1;
    before = text.length;
    requestAnimationFrame(look);
  };
  look();
}"""
# What the engine without a model writes when nobody limits it, after a word about the question.
_WORDS = [echo_text(place).strip() for place in range(1, 256)]


@pytest.fixture(scope="module")
async def target(enduring: Running) -> Target:
    """The installation, seen from its own machine."""
    target = Target(
        url=enduring.url,
        api_key=enduring.api_key,
        household=Household(enduring.supervisor),
        ledger=Ledger(load_settings(enduring.environment)),
    )
    await target.count()
    return target


@pytest.fixture(scope="module")
async def rounds(target: Target) -> FaultRounds:
    """Twenty answers at a time, half of them in the background."""
    rounds = FaultRounds(target, Load(repeats_itself=True, model=ECHO, n_streams=20, n_tokens=100))
    await rounds.prepare()
    return rounds


@pytest.mark.parametrize(
    ("role", "fault"),
    [("ingress", "kill"), ("generator", "kill"), ("valkey", "kill"), ("ingress", "stop")],
)
async def test_every_answer_arrives_once_and_whole(
    rounds: FaultRounds, role: Role, fault: Fault
) -> None:
    outcome = await rounds.run(role, fault, 0)
    assert outcome is not None
    assert outcome.problems == {}
    assert outcome.account == Account(lost=0, doubled=0, unfinished=0)
    assert outcome.abandoned == 0
    assert outcome.n_not_found == 0
    assert outcome.replaced_s is not None
    assert not outcome.was_left_stopped


@pytest.fixture(scope="module")
async def person(enduring: Running, chromium: Browser) -> AsyncIterator[BrowserContext]:
    """Somebody signed in, in a browser of their own."""
    async with signed_in(chromium, enduring) as context:
        yield context


async def _ask(page: Page) -> None:
    """Send a question and wait for the first words of its answer."""
    message = page.get_by_label("Your message")
    await message.fill("Say something.")
    await message.press("Enter")
    await expect(page.locator(".prose-answer").last).to_contain_text(
        _WORDS[10], timeout=_ANSWER_LIMIT_MS
    )


async def _answer(page: Page) -> list[str]:
    """The words of the finished answer, but for the first, which depends on the question."""
    # Only a finished answer offers to be asked again.
    await expect(page.get_by_role("button", name="Retry").last).to_be_visible(
        timeout=_ANSWER_LIMIT_MS
    )
    return (await page.locator(".prose-answer").last.inner_text()).split()[1:]


def _serving(target: Target) -> list[Member]:
    """The ingress replicas that somebody is connected to."""
    port = Address.of(target.url).port
    return [
        member
        for member in target.household.of("ingress")
        if any(
            connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == port
            for connection in member.process.net_connections("tcp")
        )
    ]


@pytest.mark.parametrize("fault", ["kill", "stop"])
async def test_a_page_goes_on_by_itself_on_another_ingress(
    person: BrowserContext, target: Target, fault: Fault
) -> None:
    await target.until_whole()
    page = await person.new_page()
    sockets: list[WebSocket] = []
    page.on("websocket", lambda socket: sockets.append(socket))  # noqa: PLW0108 - it is wrapped
    await page.goto("/")
    await page.evaluate(_WATCH_FOR_LOST_TEXT)
    await _ask(page)
    for member in _serving(target):
        member.hit(fault)
    assert await _answer(page) == _WORDS
    assert len(sockets) > 1
    assert await page.evaluate("window.timesShorter") == 0
    await expect(page.get_by_text("Reconnecting")).to_have_count(0)
    await no_findings(page)
    await page.reload()
    assert await _answer(page) == _WORDS
    await page.close()


async def test_two_tabs_show_one_answer_over_a_network_that_goes_and_comes(
    person: BrowserContext, target: Target
) -> None:
    await target.until_whole()
    first, second = await person.new_page(), await person.new_page()
    await first.goto("/")
    await _ask(first)
    await second.goto(first.url)
    await expect(second.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    await person.set_offline(True)
    for page in (first, second):
        await expect(page.get_by_text("Reconnecting")).to_be_visible(timeout=_AWAY_LIMIT_MS)
    await person.set_offline(False)
    assert await _answer(first) == _WORDS
    assert await _answer(second) == _WORDS
    await first.close()
    await second.close()
