"""What a browser hears and keeps: scripted models behind a real ingress."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.async_api import Browser, Page, expect

from serve.domain.media import MediaLimits
from serve.domain.records import Caller
from serve.ingress.context import IngressPorts
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.pool import Database
from tests.fixtures.browsing import no_findings
from tests.fixtures.encoders import wav
from tests.fixtures.ingress import Ingress, ingress
from tests.fixtures.running import PASSWORD
from tests.fixtures.talking import listening

pytestmark = pytest.mark.e2e

_DIST = Path(__file__).parents[2] / "webclient" / "dist"
_LIMITS = MediaLimits(max_upload_bytes=8 * 2**20, max_audio_s=200)


def _with_webclient(ports: IngressPorts) -> IngressPorts:
    return replace(ports, limits=replace(ports.limits, webclient_dir=_DIST))


@pytest.fixture
async def door(
    database: Database, redis_url: str, tmp_path: Path, accounts: PostgresAccounts, ada: Caller
) -> AsyncIterator[Ingress]:
    async with ingress(
        database,
        redis_url,
        tmp_path,
        accounts,
        ada,
        media_limits=_LIMITS,
        change=_with_webclient,
    ) as door:
        yield door


@pytest.fixture
async def page(door: Ingress, accounts: PostgresAccounts, chromium: Browser) -> AsyncIterator[Page]:
    """A phone of somebody signed in, in which nothing may fail unseen."""
    email = "bea@example.org"
    await accounts.create_user(email=email, name="Bea", password=PASSWORD, is_admin=False)
    problems: list[str] = []
    async with listening(door.app) as address:
        context = await chromium.new_context(
            base_url=f"http://{address}", viewport={"width": 360, "height": 740}
        )
        page = await context.new_page()
        await page.goto("/")
        await page.get_by_label("Email").fill(email)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_label("Your message")).to_be_visible()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda told: problems.append(told.text) if told.type == "error" else None
        )
        yield page
        await context.close()
    assert problems == []


async def test_a_recording_tells_its_words_in_the_composer(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(wav(np.random.default_rng(1).normal(0, 0.1, 16_000 * 60)))
    await page.locator("input[type=file][multiple]").set_input_files([path])
    # The scripted encoder says something for each five seconds.
    attachments = page.get_by_role("list", name="Attachments")
    await expect(attachments).to_contain_text("part 11", timeout=20_000)
    await expect(attachments).to_contain_text("1:00")
    await no_findings(page)


async def test_a_talk_is_kept_and_goes_on_in_text(page: Page, door: Ingress) -> None:
    await page.get_by_role("button", name="Talk", exact=True).click()
    captions = page.get_by_role("list", name="Captions")
    await expect(captions).to_contain_text("Polymodal: Hello there", timeout=20_000)
    await page.get_by_role("button", name="Mute").click()
    await no_findings(page)
    await page.get_by_role("button", name="End").press("Enter")
    await expect(page).to_have_url(re.compile("/c/conv_"))
    await page.reload()
    await expect(page.get_by_role("main")).to_contain_text("what is that")
    await expect(page.get_by_role("main")).to_contain_text("Hello there")
    n_requests = len(door.generator.requests)
    message = page.get_by_label("Your message")
    await message.fill("Again?")
    await message.press("Enter")
    await expect(page.get_by_role("main")).to_contain_text("Again?")
    await expect(page.get_by_role("button", name="Retry").last).to_be_visible(timeout=20_000)
    roles = [message.role for message in door.generator.requests[n_requests].messages]
    assert roles[:3] == ["user", "assistant", "user"]
    assert roles[-1] == "user"


async def test_a_talk_in_which_nothing_is_said_leaves_no_conversation(page: Page) -> None:
    await page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => new Promise(() => {}) }"
    )
    await page.get_by_role("button", name="Talk", exact=True).click()
    await expect(page.get_by_role("dialog", name="Voice")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page).to_have_url(re.compile("/$"))
