"""Files that mean harm, through the public doors: refused or cleaned, at bounded cost."""

from __future__ import annotations

import base64
import os
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil
import pytest

from serve.auth.passwords import Argon2Passwords
from serve.auth.tokens import RandomSecrets
from serve.domain.media import MediaLimits
from serve.domain.records import Caller, Scope
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.pool import open_database
from tests.fixtures.honest_media import picture
from tests.fixtures.hostile_documents import HOSTILE_DOCUMENTS
from tests.fixtures.hostile_media import HostileFile
from tests.fixtures.hostile_pictures import HOSTILE_PICTURES, png
from tests.fixtures.hostile_recordings import HOSTILE_RECORDINGS
from tests.fixtures.ingress import Ingress, ingress
from tests.fixtures.scripted import MODEL

HOSTILE_FILES = (*HOSTILE_PICTURES, *HOSTILE_RECORDINGS, *HOSTILE_DOCUMENTS)

# As large as ours are, but for what a test can wait for.
LIMITS = MediaLimits(
    max_upload_bytes=8 * 1024 * 1024,
    max_image_px=40_000_000,
    max_audio_s=20.0,
    decode_timeout_s=5.0,
)
MAX_EXTRA_BYTES = 256 * 1024 * 1024
REFUSALS = {
    400: {"invalid_request"},
    413: {"media_too_large"},
    415: {"unsupported_media_type"},
    422: {"broken_media"},
}


@dataclass
class MemoryWatch:
    """The most extra memory that this process and its decoders had together."""

    extra_bytes: int = 0
    _bases: dict[int, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        for process in self._watched():
            with suppress(psutil.Error, OSError):
                Path(f"/proc/{process.pid}/clear_refs").write_text("5")
                self._bases[process.pid] = process.memory_info().rss
        self._thread = threading.Thread(target=self._look_on)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._stop.wait(0.02):
            self._look()
        self._look()

    def _look(self) -> None:
        extra = 0
        for process in self._watched():
            with suppress(OSError, psutil.Error, StopIteration):
                status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                peak = next(line for line in status if line.startswith("VmHWM"))
                # A decoder that has just begun: what it takes empty is not the file's doing.
                base = self._bases.setdefault(process.pid, _EMPTY_DECODER_BYTES)
                extra += max(0, int(peak.split()[1]) * 1024 - base)
        self.extra_bytes = max(self.extra_bytes, extra)

    def _watched(self) -> list[psutil.Process]:
        me = psutil.Process()
        return [me, *(child for child in me.children(recursive=True) if _decodes(child))]


_EMPTY_DECODER_BYTES = 60 * 1024 * 1024


def _decodes(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(part.startswith("serve.media") for part in process.cmdline())
    return False


@pytest.fixture(scope="module")
async def here(
    migrated_dsn: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ingress]:
    """One ingress for all of them: what one file breaks, the next one meets."""
    passwords = Argon2Passwords(time_cost=1, memory_kib=1024, parallelism=1)
    async with open_database(migrated_dsn) as database:
        accounts = PostgresAccounts(database, passwords=passwords, secrets=RandomSecrets())
        user = await accounts.create_user(
            email=f"{secrets.token_hex(6)}@example.org", name="", password=None, is_admin=False
        )
        caller = Caller(user_id=user.id, scopes=frozenset(Scope))
        folder = tmp_path_factory.mktemp("hostile")
        async with ingress(
            database, redis_url, folder, accounts, caller, media_limits=LIMITS
        ) as here:
            yield here


@contextmanager
def bounded() -> Iterator[None]:
    with MemoryWatch() as watch:
        yield
    assert watch.extra_bytes <= MAX_EXTRA_BYTES, f"{watch.extra_bytes >> 20} MiB"


def check_refusal(status: int, body: dict[str, dict[str, str]]) -> None:
    assert body["error"]["code"] in REFUSALS.get(status, set()), (status, body)
    assert body["error"]["message"]
    assert os.sep + "work" not in body["error"]["message"]


@pytest.mark.parametrize("file", HOSTILE_FILES, ids=lambda file: file.name)
async def test_a_hostile_file_is_refused_or_cleaned(here: Ingress, file: HostileFile) -> None:
    content = file.make()
    with bounded():
        reply = await here.http.post(
            "/api/v1/assets", files={"file": ("file", content, file.declared)}
        )
    if reply.status_code == 200:
        assert file.outcome != "refused"
        asset = reply.json()
        stored = await here.http.get(f"/api/v1/assets/{asset['id']}/content")
        assert not [mark for mark in file.gone if mark in stored.content]
        assert stored.headers["content-security-policy"].startswith("default-src 'none'")
    else:
        assert file.outcome != "cleaned", reply.text
        check_refusal(reply.status_code, reply.json())


@pytest.mark.parametrize(
    "file",
    [file for file in HOSTILE_FILES if file.outcome == "refused"],
    ids=lambda file: file.name,
)
async def test_the_same_file_is_refused_inside_a_question(here: Ingress, file: HostileFile) -> None:
    before = len(here.generator.requests)
    url = f"data:{file.declared};base64," + base64.b64encode(file.make()).decode()
    part = {"type": "input_file", "file_data": url, "filename": "file"}
    with bounded():
        reply = await here.http.post(
            "/v1/responses",
            json={"model": MODEL, "input": [{"role": "user", "content": [part]}]},
        )
    check_refusal(reply.status_code, reply.json())
    assert len(here.generator.requests) == before


async def test_a_question_of_a_thousand_pictures_is_refused(here: Ingress) -> None:
    pictures = [png(16, 16, bits=8, pixels=b"")[:8] + bytes((n % 256,)) for n in range(1_000)]
    urls = ["data:image/png;base64," + base64.b64encode(each).decode() for each in pictures]
    content = [{"type": "input_image", "image_url": url} for url in urls]
    with bounded():
        reply = await here.http.post(
            "/v1/responses", json={"model": MODEL, "input": [{"role": "user", "content": content}]}
        )
    check_refusal(reply.status_code, reply.json())
    assert "1000" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png,notbase64",
        "data:image/png;base64,%%%%",
        "data:image/png;base64," + "A" * 401,
        "data:" + "x" * 10_000 + ";base64,AAAA",
        "data:;base64,",
        "file:///etc/passwd",
        "https://127.0.0.1/a.png",
        "https://[::ffff:10.0.0.1]/a.png",
        "https://0x7f000001/a.png",
        "https://2130706433/a.png",
        "https://169.254.169.254/latest/meta-data",
        "http://example.com/a.png",
        "javascript:alert(1)",
    ],
)
async def test_an_address_that_must_not_be_followed_is_refused(here: Ingress, url: str) -> None:
    part = {"type": "input_image", "image_url": url}
    reply = await here.http.post(
        "/v1/responses", json={"model": MODEL, "input": [{"role": "user", "content": [part]}]}
    )
    check_refusal(reply.status_code, reply.json())


@pytest.mark.parametrize(
    "file",
    [file for file in HOSTILE_FILES if len(file.name) % 3 == 0],
    ids=lambda file: file.name,
)
async def test_the_manifest_reader_survives_it(here: Ingress, file: HostileFile) -> None:
    with bounded():
        reply = await here.http.post("/api/v1/provenance/verify", files={"file": file.make()})
    if reply.status_code == 200:
        assert not reply.json()["signed_by_us"]
    else:
        check_refusal(reply.status_code, reply.json())


async def test_the_service_still_answers(here: Ingress) -> None:
    reply = await here.http.post("/api/v1/assets", files={"file": ("a.png", picture("PNG"))})
    assert reply.status_code == 200
    answer = await here.http.post("/v1/responses", json={"model": MODEL, "input": "hello"})
    assert answer.json()["status"] == "completed"
