"""Every medium in and out in a real browser, by mouse and keyboard, at phone and desktop size."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import PIL.Image
import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from tests.fixtures.browsing import no_findings, quiet_tab, signed_in
from tests.fixtures.clips import clip, colours
from tests.fixtures.pdfs import pdf
from tests.fixtures.running import Running

pytestmark = [pytest.mark.e2e, pytest.mark.models]

_MAKING_LIMIT_MS = 240_000
# Set to a folder to keep what the tests saw.
_SCREENSHOTS = os.environ.get("SCREENSHOTS")
_DESKTOP = (1280, 800)
_PHONE = (360, 740)


@pytest.fixture(scope="module")
async def person(running: Running, chromium: Browser) -> AsyncIterator[BrowserContext]:
    """Somebody signed in."""
    async with signed_in(chromium, running) as context:
        yield context


@pytest.fixture
async def page(person: BrowserContext) -> AsyncIterator[Page]:
    """A fresh tab in which nothing may fail unseen."""
    # What was not perceived yet is asked for all the same, and told as 404.
    async with quiet_tab(person, but_status=404) as page:
        await expect(page.get_by_role("button", name="Add to the message")).to_be_visible()
        yield page


@pytest.fixture(scope="module")
def holiday_clip(voice_note: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shots of three seconds, with somebody reading aloud."""
    path = tmp_path_factory.mktemp("clip") / "holiday.mp4"
    first, second, _ = colours()
    path.write_bytes(clip([(3, first), (3, second)], voice_wav=voice_note.read_bytes()))
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pages of text."""
    path = tmp_path_factory.mktemp("report") / "report.pdf"
    path.write_bytes(pdf([["Harbour report"], ["The lighthouse is 31 metres tall."]]))
    return path


async def _look(page: Page, name: str) -> None:
    """No findings and nothing to scroll sideways, at both sizes and in both themes."""
    for place, (width, height), scheme in (
        ("phone", _PHONE, "dark"),
        ("desktop", _DESKTOP, "light"),
    ):
        await page.set_viewport_size({"width": width, "height": height})
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        await no_findings(page)
        assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        if _SCREENSHOTS:
            await page.screenshot(path=Path(_SCREENSHOTS) / f"{name}-{place}-{scheme}.png")


async def _answered(page: Page) -> None:
    await expect(page.get_by_role("button", name="Retry").last).to_be_visible(
        timeout=_MAKING_LIMIT_MS
    )


async def test_a_video_and_a_document_are_answered_and_played_by_their_timeline(
    page: Page, holiday_clip: Path, report: Path
) -> None:
    await page.locator("input[type=file][multiple]").set_input_files([holiday_clip, report])
    await expect(page.get_by_role("list", name="Attachments")).to_contain_text("0:06")
    await page.get_by_label("Your message").fill("What happens in the video?")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_text(re.compile("watching", re.IGNORECASE)).first).to_be_visible()
    await _answered(page)
    timeline = page.get_by_role("list", name="Timeline")
    spoken = timeline.get_by_role("button", name=re.compile("Said: .*Dashwood"))
    await expect(spoken.first).to_be_visible()
    await expect(timeline.get_by_role("button", name=re.compile("Seen: "))).to_have_count(2)
    second = timeline.get_by_role("button", name=re.compile("Seen: ")).nth(1)
    await second.focus()
    await page.keyboard.press("Enter")
    await expect(second).to_have_attribute("aria-current", "time")
    video = page.locator("video").first
    assert await video.evaluate("video => video.currentTime") >= 2
    assert await video.evaluate("video => video.textTracks[0].cues.length") >= 1
    await page.get_by_text("What was read, page by page").click()
    await expect(page.get_by_role("list", name="Pages")).to_contain_text("31 metres")
    await video.scroll_into_view_if_needed()
    await _look(page, "timeline")


async def test_an_answer_is_read_aloud_and_silenced(page: Page) -> None:
    message = page.get_by_label("Your message")
    await message.fill("Write three sentences about the sea.")
    await message.press("Enter")
    await _answered(page)
    await page.get_by_role("button", name="Read aloud").click()
    await expect(page.get_by_text("Reading aloud")).to_be_attached(timeout=_MAKING_LIMIT_MS)
    await page.get_by_role("button", name="Stop reading").click()
    await expect(page.get_by_role("button", name="Read aloud")).to_be_visible()


async def test_the_camera_adds_a_photo(page: Page) -> None:
    await page.get_by_role("button", name="Add to the message").click()
    await page.get_by_role("menuitem", name="Camera").click()
    await expect(page.get_by_label("What the camera sees")).to_be_visible()
    await _look(page, "camera")
    await page.get_by_role("button", name="Take a photo").click()
    await expect(page.get_by_role("list", name="Attachments")).to_contain_text("photo.jpg")


async def test_what_cannot_be_attached_is_said(page: Page, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("hello")
    await page.locator("input[type=file][multiple]").set_input_files([notes])
    await expect(page.get_by_role("alert")).to_contain_text("notes.txt cannot be attached here")


async def test_a_picture_is_drawn_edited_traced_and_used(page: Page) -> None:
    await page.get_by_role("link", name="Studio").click()
    await page.get_by_label("What to draw").fill("a red apple")
    await page.get_by_label("Seed").fill("7")
    await page.get_by_label("Size").select_option("256x256")
    await page.get_by_role("button", name="Draw", exact=True).click()
    results = page.get_by_role("region", name="Results")
    first = results.get_by_role("img", name="a red apple", exact=True)
    await expect(first).to_be_visible(timeout=_MAKING_LIMIT_MS)
    await _look(page, "studio")
    await page.get_by_role("button", name="More for this picture").click()
    await page.get_by_role("menuitem", name="Edit a part").click()
    # By keyboard alone: a rectangle instead of a brush.
    await page.get_by_label("Height, %").fill("40")
    await page.get_by_role("button", name="Mark this rectangle").press("Enter")
    await _look(page, "edit")
    await page.get_by_label("What should be there").fill("a green leaf")
    await page.get_by_role("button", name="Draw the marked part anew").press("Enter")
    edited = results.get_by_role("img", name="a green leaf", exact=True)
    await expect(edited).to_be_visible(timeout=_MAKING_LIMIT_MS)
    await page.get_by_role("button", name="More for this picture").first.click()
    await page.get_by_role("menuitem", name="How it was made").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_text("Made here, unchanged")).to_be_visible()
    await expect(dialog.get_by_text("Made from").first).to_be_visible()
    await _look(page, "provenance")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Use in chat").first.click()
    await expect(page.get_by_label("Your message")).to_be_visible()
    await expect(page.get_by_role("list", name="Attachments").locator("img")).to_have_count(1)


async def test_any_file_tells_how_it_was_made(page: Page, tmp_path: Path) -> None:
    plain = tmp_path / "plain.png"
    PIL.Image.new("RGB", (32, 32), "teal").save(plain)
    await page.goto("/studio")
    await page.get_by_role("tab", name="Check a file").click()
    await page.get_by_label("File to check").set_input_files(plain)
    await expect(page.get_by_text("No statement in this file")).to_be_visible()
    await _look(page, "verify")


async def test_a_tab_that_was_chosen_stays_when_others_appear(page: Page) -> None:
    may_be_told = asyncio.Event()

    async def tell_later(route: Route) -> None:
        await may_be_told.wait()
        await route.continue_()

    await page.route("**/v1/models", tell_later)
    await page.goto("/studio")
    chosen = page.get_by_role("tab", name="Check a file")
    await chosen.click()
    may_be_told.set()
    await expect(page.get_by_role("tab", name="Pictures")).to_be_visible()
    await expect(chosen).to_have_attribute("aria-selected", "true")
    await page.goto("/studio")
    await expect(page.get_by_role("tab", name="Pictures")).to_have_attribute(
        "aria-selected", "true"
    )


async def test_a_clip_is_a_job_that_shows_its_progress(page: Page) -> None:
    await page.goto("/studio")
    await page.get_by_role("tab", name="Video").click()
    await page.get_by_label("What to show").fill("a red apple")
    await page.get_by_label("Size").select_option("256x256")
    await page.get_by_role("button", name="Make a clip").click()
    clips = page.get_by_role("region", name="Clips")
    await expect(clips.get_by_role("button", name=re.compile("^Stop"))).to_be_visible()
    await page.get_by_role("button", name=re.compile("Jobs")).click()
    await expect(page.get_by_role("dialog", name="Jobs")).to_contain_text("a red apple")
    await _look(page, "jobs")
    await page.keyboard.press("Escape")
    await expect(clips.locator("video")).to_be_visible(timeout=_MAKING_LIMIT_MS)
    await clips.get_by_role("button", name=re.compile("^Put away")).click()
    await expect(clips.locator("video")).to_have_count(0)


async def test_one_talks_and_sees_what_was_said(page: Page) -> None:
    await page.get_by_role("button", name="Talk", exact=True).click()
    captions = page.get_by_role("list", name="Captions")
    await expect(captions).to_contain_text("Dashwood", timeout=_MAKING_LIMIT_MS)
    # The recording begins again, which would interrupt the answer.
    await page.get_by_role("button", name="Mute").click()
    await expect(page.get_by_role("button", name="Unmute")).to_be_visible()
    await expect(captions).to_contain_text("Polymodal:", timeout=_MAKING_LIMIT_MS)
    await _look(page, "voice")
    await page.get_by_role("button", name="End").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    # It is a conversation like any other: in the list, and to be gone on with in text.
    await expect(page).to_have_url(re.compile("/c/conv_"))
    await expect(page.get_by_role("main")).to_contain_text("Dashwood")
    await page.reload()
    await expect(page.get_by_role("main")).to_contain_text("Dashwood")
    message = page.get_by_label("Your message")
    await message.fill("Say it again in one sentence.")
    await message.press("Enter")
    await _answered(page)


async def test_a_recording_tells_its_words_before_it_is_sent(page: Page, voice_note: Path) -> None:
    await page.locator("input[type=file][multiple]").set_input_files([voice_note])
    attachments = page.get_by_role("list", name="Attachments")
    # Of many words the last ones are shown.
    await expect(attachments).to_contain_text("in his power", timeout=_MAKING_LIMIT_MS)
    await _look(page, "recording")
