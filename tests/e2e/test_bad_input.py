"""What goes wrong is told in one envelope with the right status, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import base64
import io
import secrets
import wave
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.fixtures.running import DEFAULT, QUICK, SIGN_INS_PER_MINUTE, Running

pytestmark = [pytest.mark.e2e, pytest.mark.models]


def _error(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["x-request-id"]
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text
    return error


def _ask(picture: bytes, mime_type: str = "image/png") -> dict[str, Any]:
    url = f"data:{mime_type};base64,{base64.b64encode(picture).decode()}"
    parts = [{"type": "input_image", "image_url": url}]
    return {"model": QUICK, "input": [{"role": "user", "content": parts}], "max_output_tokens": 4}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer pm-wrong"},
        {"authorization": "Basic abc"},
        {"cookie": "polymodal_session=pms-wrong"},
    ],
)
def test_wrong_credentials_are_refused(running: Running, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{running.url}/v1/models", headers=headers)
    assert _error(answer, 401)["type"] == "authentication_error"


def test_an_expired_or_revoked_key_is_refused(running: Running) -> None:
    with running.signed_in() as browser:
        key = browser.post("/api/v1/keys", json={"name": "short-lived"}).json()
        with running.http(key["secret"]) as http:
            assert http.get("/v1/models").status_code == 200
            assert browser.delete(f"/api/v1/keys/{key['id']}").status_code == 204
            _error(http.get("/v1/models"), 401)


def test_a_key_without_the_scope_is_refused(running: Running) -> None:
    with running.http(running.new_key("--scopes", "read")) as http:
        assert http.get("/v1/models").status_code == 200
        error = _error(http.post("/v1/responses", json={"input": "x"}), 403)
        assert "generate" in error["message"]


def test_a_browser_needs_its_csrf_token(running: Running) -> None:
    with running.signed_in() as browser:
        del browser.headers["x-csrf-token"]
        _error(browser.post("/v1/conversations", json={}), 403)


def test_what_belongs_to_another_looks_absent(running: Running, cat_photo: Path) -> None:
    email = f"{secrets.token_hex(4)}@example.org"
    running.command("users", "create", "--email", email, "--name", "Other")
    other = running.new_key("--user", email)
    with running.http() as mine, running.http(other) as theirs:
        asset = mine.post("/api/v1/assets", files={"file": cat_photo.read_bytes()}).json()["id"]
        conversation = mine.post("/v1/conversations", json={}).json()["id"]
        response = mine.post(
            "/v1/responses", json={"model": QUICK, "input": "Hi", "max_output_tokens": 2}
        ).json()["id"]
        for path in (
            f"/api/v1/assets/{asset}",
            f"/api/v1/assets/{asset}/content",
            f"/api/v1/assets/{asset}/perception",
            f"/v1/conversations/{conversation}",
            f"/v1/conversations/{conversation}/items",
            f"/api/v1/conversations/{conversation}/active",
            f"/v1/responses/{response}",
            f"/v1/responses/{response}/input_items",
            f"/api/v1/requests/{response}/trace",
        ):
            _error(theirs.get(path), 404)
        parts = [{"type": "input_image", "file_id": asset}]
        stolen = {"input": [{"role": "user", "content": parts}]}
        _error(theirs.post("/v1/responses", json=stolen), 404)
        for link in ("previous_response_id", "conversation"):
            named = response if link == "previous_response_id" else conversation
            _error(theirs.post("/v1/responses", json={"input": "x", link: named}), 404)
        _error(theirs.post(f"/v1/responses/{response}/cancel"), 404)
        _error(theirs.delete(f"/v1/conversations/{conversation}"), 404)
        assert mine.get(f"/v1/responses/{response}").status_code == 200


def test_an_unknown_model_names_the_choices(running: Running) -> None:
    with running.http() as http:
        error = _error(http.post("/v1/responses", json={"model": "gpt-99", "input": "x"}), 404)
        assert error["code"] == "model_not_found"
        assert DEFAULT in error["message"]
        assert QUICK in error["message"]


def test_broken_json_and_unknown_parameters_are_named(running: Running) -> None:
    with running.http() as http:
        json_type = {"content-type": "application/json"}
        broken = http.post("/v1/responses", content=b'{"input": ', headers=json_type)
        assert _error(broken, 400)["code"] == "malformed_json"
        unknown = http.post("/v1/responses", json={"input": "x", "temprature": 1})
        assert _error(unknown, 400)["param"] == "temprature"
        _error(http.post("/v1/responses", json={"input": []}), 400)
        _error(http.post("/v1/chat/completions", json={"messages": []}), 400)


def test_files_that_lie_about_their_type_are_refused(running: Running) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    with running.http() as http:
        for content in (svg, b"%PDF-1.7 x", b"MZ\x90\x00", b"hello"):
            error = _error(http.post("/v1/responses", json=_ask(content)), 415)
            assert error["code"] == "unsupported_media_type"
            upload = {"file": ("cat.png", content, "image/png")}
            _error(http.post("/api/v1/assets", files=upload), 415)


def test_broken_media_are_refused_and_leave_nothing(running: Running, cat_photo: Path) -> None:
    with running.http() as http:
        before = http.get("/api/v1/assets").json()
        truncated = cat_photo.read_bytes()[:2000]
        error = _error(http.post("/v1/responses", json=_ask(truncated, "image/jpeg")), 422)
        assert error["code"] == "broken_media"
        assert http.get("/api/v1/assets").json() == before


def test_too_large_and_too_long_name_the_limit(running: Running) -> None:
    with running.http() as http:
        big = {"file": ("big.png", b"\x89PNG\r\n\x1a\n" + bytes(9 * 1024 * 1024), "image/png")}
        error = _error(http.post("/api/v1/assets", files=big), 413)
        assert str(8 * 1024 * 1024) in error["message"]
        error = _error(http.post("/api/v1/assets", files={"file": ("x.wav", _silence(130))}), 413)
        assert "120" in error["message"]


def test_metadata_of_a_picture_is_gone(running: Running) -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    plain = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(plain, "JPEG", exif=exif)
    with running.http() as http:
        asset = http.post(
            "/api/v1/assets", files={"file": ("a.jpg", plain.getvalue(), "image/jpeg")}
        ).json()
        stored = http.get(asset["content_url"])
        assert b"secret place" not in stored.content
        assert not Image.open(io.BytesIO(stored.content)).getexif()


def test_private_addresses_are_never_fetched(running: Running) -> None:
    with running.http() as http:
        for url in ("http://example.com/a.png", "https://127.0.0.1/a.png", "https://[::1]/a.png"):
            parts = [{"type": "input_image", "image_url": url}]
            body = {"input": [{"role": "user", "content": parts}]}
            _error(http.post("/v1/responses", json=body), 400)


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_over_the_window_names_both_numbers(running: Running, *, stream: bool) -> None:
    with running.http() as http:
        conversation = http.post("/v1/conversations", json={}).json()["id"]
        answer = http.post(
            "/v1/responses",
            json={
                "model": QUICK,
                "input": "word " * 60_000,
                "conversation": conversation,
                "stream": stream,
            },
        )
        error = _error(answer, 400)
        assert error["code"] == "context_length_exceeded"
        assert sum(part.strip(".,;").isdigit() for part in error["message"].split()) >= 2
        items = http.get(f"/v1/conversations/{conversation}/items").json()
        assert items["data"] == []


def test_what_is_not_served_says_so(running: Running) -> None:
    with running.http() as http:
        for method, path in (
            ("POST", "/v1/batches"),
            ("POST", "/v1/images/variations"),
            ("GET", "/v1/files"),
            ("POST", "/v1/completions"),
            ("POST", "/v1/fine_tuning/jobs"),
        ):
            error = _error(http.request(method, path, json={}), 501)
            assert "chat/completions" in error["message"]
        _error(http.get("/api/v1/nothing"), 404)


def test_two_answers_in_one_conversation_conflict(running: Running) -> None:
    with running.http() as http:
        conversation = http.post("/v1/conversations", json={}).json()["id"]
        body = {
            "model": QUICK,
            "input": "Write a long story.",
            "conversation": conversation,
            "background": True,
        }
        first = http.post("/v1/responses", json=body)
        assert first.status_code == 200
        assert _error(http.post("/v1/responses", json=body), 409)["code"] == "conflict"
        http.post(f"/v1/responses/{first.json()['id']}/cancel")


async def test_too_many_sign_ins_are_held_back(running: Running) -> None:
    wrong = {"email": "nobody@example.org", "password": "not the password"}
    async with httpx.AsyncClient(base_url=running.url, timeout=120) as http:
        answers = await asyncio.gather(
            *(http.post("/api/v1/session", json=wrong) for _ in range(2 * SIGN_INS_PER_MINUTE))
        )
    refused = [answer for answer in answers if answer.status_code != 401]
    assert len(refused) >= SIGN_INS_PER_MINUTE // 2
    for answer in refused:
        assert _error(answer, 429)["code"] == "rate_limit_exceeded"
        assert int(answer.headers["retry-after"]) >= 1


def _silence(seconds: int) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(8000)
        recording.writeframes(bytes(2 * 8000 * seconds))
    return out.getvalue()
