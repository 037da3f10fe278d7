"""The main job in a real browser, by mouse and keyboard, at phone and desktop size."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.fixtures.browsing import no_findings, quiet_tab, signed_in
from tests.fixtures.running import LONG_TASK, PASSWORD, Running

pytestmark = [pytest.mark.e2e, pytest.mark.models]

_ANSWER_LIMIT_MS = 90_000
# Set to a folder to keep what the tests saw.
_SCREENSHOTS = os.environ.get("SCREENSHOTS")

Scheme = Literal["light", "dark"]
_VIEWS: list[tuple[str, int, int, Scheme]] = [
    ("desktop", 1280, 800, "light"),
    ("desktop", 1280, 800, "dark"),
    ("phone", 390, 844, "light"),
    ("phone", 390, 844, "dark"),
]


@pytest.fixture(scope="module")
async def person(running: Running, chromium: Browser) -> AsyncIterator[BrowserContext]:
    """Somebody who followed a one-time link, chose a password and is signed in."""
    async with signed_in(chromium, running) as context:
        yield context


@pytest.fixture
async def page(person: BrowserContext) -> AsyncIterator[Page]:
    """A fresh tab in which nothing may fail unseen."""
    # The browser itself reports refused uploads; that they are told well is tested below.
    async with quiet_tab(person, but_status=415) as page:
        yield page


async def _look(page: Page, name: str) -> None:
    if _SCREENSHOTS:
        await page.screenshot(path=Path(_SCREENSHOTS) / f"{name}.png")


async def _answered(page: Page) -> str:
    # Only a finished answer offers to be asked again.
    await expect(page.get_by_role("button", name="Retry").last).to_be_visible(
        timeout=_ANSWER_LIMIT_MS
    )
    return await page.locator(".prose-answer").last.inner_text()


async def test_a_photograph_and_a_voice_note_become_a_streamed_answer(
    page: Page, cat_photo: Path, voice_note: Path
) -> None:
    await page.locator("input[type=file][multiple]").set_input_files([cat_photo, voice_note])
    await page.get_by_label("Your message").fill("Which animal is in the picture?")
    await page.get_by_role("button", name="Send").click()
    await expect(
        page.get_by_text(re.compile("looking|listening", re.IGNORECASE)).first
    ).to_be_visible()
    # The encoders know breeds.
    assert re.search("cat|tabby|mau", (await _answered(page)).lower())
    await expect(page.get_by_role("button", name="What was seen").first).to_be_visible()
    for where, width, height, scheme in _VIEWS:
        await page.set_viewport_size({"width": width, "height": height})
        await page.emulate_media(color_scheme=scheme)
        await no_findings(page)
        await _look(page, f"answer-{where}-{scheme}")
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.emulate_media(color_scheme="light")
    await page.get_by_role("button", name="What was seen").first.click()
    await expect(page.get_by_text(re.compile("cat", re.IGNORECASE)).first).to_be_visible()
    await no_findings(page)
    await _look(page, "seen-desktop-light")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="What was heard").first.click()
    await expect(page.get_by_text(re.compile("Dashwood")).first).to_be_visible()
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Trace").last.click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_text("ImageEncoder").first).to_be_visible()
    await expect(dialog.get_by_text("Generator").first).to_be_visible()
    await no_findings(page)
    await _look(page, "trace-desktop-light")
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)


async def test_a_page_reloaded_mid_answer_shows_the_whole_answer(page: Page) -> None:
    message = page.get_by_label("Your message")
    await message.fill("Count from 1 to 40, one number per line.")
    await message.press("Enter")
    # Its first words, whatever they are.
    await expect(page.locator(".prose-answer").last).to_contain_text(
        re.compile(r"\w"), timeout=_ANSWER_LIMIT_MS
    )
    await page.reload()
    answer = await _answered(page)
    assert answer.strip()
    await page.reload()
    await expect(page.locator(".prose-answer").last).to_have_text(answer, use_inner_text=True)


async def test_stopping_keeps_what_was_written(page: Page) -> None:
    message = page.get_by_label("Your message")
    await message.fill(LONG_TASK)
    await message.press("Enter")
    await expect(page.locator(".prose-answer").last).to_be_visible(timeout=_ANSWER_LIMIT_MS)
    await page.get_by_role("button", name="Stop", exact=True).click()
    assert (await _answered(page)).strip()


async def test_a_voice_note_is_recorded_and_answered(page: Page) -> None:
    await page.get_by_role("button", name="Record a voice note", exact=True).click()
    await page.wait_for_timeout(4000)
    await _look(page, "recording-desktop-light")
    await no_findings(page)
    await page.get_by_role("button", name="Done").click()
    await page.get_by_role("button", name="Attach", exact=True).click()
    await page.get_by_label("Your message").fill("What did the speaker say?")
    await page.get_by_role("button", name="Send").click()
    await _answered(page)
    await page.get_by_role("button", name="What was heard").first.click()
    await expect(page.get_by_text(re.compile("Dashwood")).first).to_be_visible()


async def test_what_is_refused_says_what_to_do(page: Page, tmp_path: Path) -> None:
    lying = tmp_path / "cat.png"
    lying.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    await page.locator("input[type=file][multiple]").set_input_files([lying])
    await expect(page.get_by_role("alert").or_(page.get_by_text("picture")).first).to_be_visible()


async def test_keys_are_made_shown_once_and_revoked(page: Page, running: Running) -> None:
    await page.goto("/keys")
    await page.get_by_label("Name").fill("laptop")
    await page.get_by_role("button", name="Create key").click()
    secret = page.get_by_text(re.compile(r"^pm-[A-Za-z0-9_-]{20,}$")).first
    await expect(secret).to_be_visible()
    with running.http((await secret.inner_text()).strip()) as http:
        assert http.get("/v1/models").status_code == 200
    await no_findings(page)
    await _look(page, "keys-desktop-light")
    await page.reload()
    await expect(page.get_by_text("laptop").first).to_be_visible()
    await expect(secret).to_have_count(0)


async def test_signing_in_by_keyboard_alone(running: Running, chromium: Browser) -> None:
    email = f"{os.urandom(4).hex()}@example.org"
    words = ("users", "create", "--email", email, "--name", "K", "--password-stdin")
    running.command(*words, stdin=PASSWORD + "\n")
    context = await chromium.new_context(base_url=running.url)
    page = await context.new_page()
    await page.goto("/")
    await expect(page.get_by_label("Email")).to_be_visible()
    for where, width, height, scheme in _VIEWS:
        await page.set_viewport_size({"width": width, "height": height})
        await page.emulate_media(color_scheme=scheme)
        await no_findings(page)
        await _look(page, f"sign-in-{where}-{scheme}")
    await page.get_by_label("Email").focus()
    await page.keyboard.type(email)
    await page.keyboard.press("Tab")
    await page.keyboard.type("a wrong password")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert").first).to_be_visible()
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Your message")).to_be_visible()
    for where, width, height, scheme in _VIEWS:
        await page.set_viewport_size({"width": width, "height": height})
        await page.emulate_media(color_scheme=scheme)
        await no_findings(page)
        await _look(page, f"start-{where}-{scheme}")
    await context.close()
