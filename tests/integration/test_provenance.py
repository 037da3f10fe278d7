"""What is made here says so, to anybody: C2PA manifests against a reader that is not ours."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from serve.domain.errors import BrokenMedia, UnsupportedMedia
from serve.domain.media import Making, MediaKind, MediaRef, SanitizedMedia
from serve.domain.records import Caller
from serve.media.provenance import C2paProvenance
from serve.media.signing_key import SigningIdentity, make_elsewhere, signing_identity
from serve.storage.postgres.accounts import PostgresAccounts
from serve.storage.postgres.pool import Database
from tests.fixtures.honest_media import film, picture, recording
from tests.fixtures.ingress import Ingress, ingress

MAKING = Making(action="c2pa.created", model="painter-1", recipe={"prompt": "a red fox", "seed": 7})

# The library itself, in a process of its own, told only whom to trust.
INDEPENDENT_READER = """
import c2pa, io, json, sys
settings = {"trust": {"user_anchors": open(sys.argv[1]).read()}, "verify": {"verify_trust": True}}
with c2pa.Reader(None, io.BytesIO(sys.stdin.buffer.read()),
                 context=c2pa.Context.from_dict(settings)) as reader:
    print(reader.json())
"""

MEDIA = {
    "image/png": picture("PNG"),
    "image/jpeg": picture("JPEG"),
    "image/webp": picture("WEBP"),
    "audio/wav": recording("wav", "pcm_s16le"),
    "audio/flac": recording("flac", "flac"),
    "audio/mpeg": recording("mp3", "mp3"),
    "audio/mp4": recording("mp4", "aac"),
    "video/mp4": film("mp4"),
}


def made(content: bytes, mime_type: str) -> SanitizedMedia:
    kind = MediaKind(mime_type.partition("/")[0])
    return SanitizedMedia(kind=kind, mime_type=mime_type, content=content)


def independently_read(content: bytes, root: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", INDEPENDENT_READER, str(root)],
        input=content,
        capture_output=True,
        check=True,
        timeout=60,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> SigningIdentity:
    folder = tmp_path_factory.mktemp("keys")
    return signing_identity(folder / "provenance.key", folder / "provenance.pem")


@pytest.fixture(scope="module")
async def provenance(identity: SigningIdentity) -> AsyncIterator[C2paProvenance]:
    coverage = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE")}
    async with C2paProvenance(identity, worker_env=coverage) as provenance:
        yield provenance


@pytest.fixture
def root(identity: SigningIdentity, tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_text(identity.root)
    return path


@pytest.mark.parametrize("mime_type", MEDIA)
async def test_an_independent_reader_trusts_what_we_sign_and_sees_a_changed_byte(
    provenance: C2paProvenance, root: Path, mime_type: str
) -> None:
    signed = await provenance.sign(made(MEDIA[mime_type], mime_type), MAKING, [])
    found = independently_read(signed.content, root)
    assert found["validation_state"] == "Trusted"
    report = await provenance.read(signed.content)
    assert (report.is_valid, report.is_ours, report.problems) == (True, True, ())
    assert report.claim_generator == "Polymodal"
    (step,) = report.actions
    assert (step.action, step.software_agent) == ("c2pa.created", "painter-1")
    assert step.digital_source_type == "trainedAlgorithmicMedia"

    changed = bytearray(signed.content)
    changed[signed.content.index(MEDIA[mime_type][-64:-32])] ^= 1
    tampered = await provenance.read(bytes(changed))
    assert tampered.is_signed
    assert not tampered.is_valid
    assert not tampered.is_ours
    assert any("ash.mismatch" in problem.code for problem in tampered.problems)


async def test_signed_media_still_show_and_sound_the_same(provenance: C2paProvenance) -> None:
    signed = await provenance.sign(made(MEDIA["image/png"], "image/png"), MAKING, [])
    before, after = (
        Image.open(io.BytesIO(content)) for content in (MEDIA["image/png"], signed.content)
    )
    assert before.tobytes() == after.tobytes()


async def test_the_prompt_is_told_by_its_hash_only_unless_the_owner_allows_it(
    provenance: C2paProvenance, identity: SigningIdentity
) -> None:
    picture_made = made(MEDIA["image/png"], "image/png")
    reserved = await provenance.sign(picture_made, MAKING, [])
    assert b"red fox" not in reserved.content
    (step,) = (await provenance.read(reserved.content)).actions
    assert (step.parameters or {}).keys() == {"org.polymodal.prompt_sha256"}
    async with C2paProvenance(identity, tells_recipe=True) as open_hearted:
        (step,) = (
            await provenance.read((await open_hearted.sign(picture_made, MAKING, [])).content)
        ).actions
    assert json.loads((step.parameters or {})["org.polymodal.recipe"]) == MAKING.recipe


async def test_an_edited_picture_names_what_it_was_and_what_went_in(
    provenance: C2paProvenance, root: Path
) -> None:
    first = await provenance.sign(made(MEDIA["image/png"], "image/png"), MAKING, [])
    parents = [
        (_ref("asset_a", "image/png", "fox.png"), first.content),
        (_ref("asset_b", "audio/ogg", ""), recording("ogg", "libopus")),
    ]
    making = Making(action="c2pa.edited", model="painter-1", parents=("asset_a", "asset_b"))
    edited = await provenance.sign(made(MEDIA["image/jpeg"], "image/jpeg"), making, parents)
    assert independently_read(edited.content, root)["validation_state"] == "Trusted"
    report = await provenance.read(edited.content)
    assert [step.action for step in report.actions] == ["c2pa.opened", "c2pa.edited"]
    assert [(each.title, each.relationship) for each in report.ingredients] == [
        ("fox.png", "parentOf"),
        ("asset_b", "inputTo"),
    ]


def _ref(asset_id: str, mime_type: str, filename: str) -> MediaRef:
    return MediaRef(
        asset_id=asset_id,
        owner_id="user",
        kind=MediaKind(mime_type.partition("/")[0]),
        mime_type=mime_type,
        content_hash="",
        storage_key="",
        n_bytes=1,
        filename=filename,
    )


async def test_a_valid_manifest_of_somebody_else_is_not_ours(
    provenance: C2paProvenance, tmp_path: Path
) -> None:
    stranger = signing_identity(tmp_path / "stranger.key", tmp_path / "stranger.pem")
    async with C2paProvenance(stranger) as theirs:
        foreign = await theirs.sign(made(MEDIA["image/png"], "image/png"), MAKING, [])
    report = await provenance.read(foreign.content)
    assert (report.is_signed, report.is_valid, report.is_ours) == (True, True, False)
    assert [problem.code for problem in report.problems] == ["signingCredential.untrusted"]


async def test_what_holds_no_manifest_stays_as_it_is(provenance: C2paProvenance) -> None:
    opus = made(recording("ogg", "libopus"), "audio/ogg")
    assert await provenance.sign(opus, MAKING, []) is opus


async def test_unsigned_and_unreadable_files_are_told_apart(provenance: C2paProvenance) -> None:
    assert not (await provenance.read(MEDIA["image/png"])).is_signed
    for content in (b"hello", b"\x7fELF" + bytes(64), recording("ogg", "libopus")):
        with pytest.raises(UnsupportedMedia):
            await provenance.read(content)
    with pytest.raises(BrokenMedia):
        await provenance.read(b"")


async def test_a_damaged_manifest_is_refused_or_invalid_never_believed(
    provenance: C2paProvenance,
) -> None:
    signed = (await provenance.sign(made(MEDIA["image/png"], "image/png"), MAKING, [])).content
    at = signed.index(b"jumb")
    for offset in range(at, at + 2000, 97):
        damaged = signed[:offset] + bytes((signed[offset] ^ 0xFF,)) + signed[offset + 1 :]
        try:
            report = await provenance.read(damaged)
        except (BrokenMedia, UnsupportedMedia):
            continue
        assert not report.is_ours


async def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    key, chain = tmp_path / "keys" / "a.key", tmp_path / "keys" / "a.pem"
    found = await asyncio.gather(
        *(asyncio.to_thread(signing_identity, key, chain) for _ in range(8))
    )
    assert len(set(found)) == 1
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert found[0].root.count("BEGIN CERTIFICATE") == 1
    chain.unlink()
    with pytest.raises(FileNotFoundError):
        signing_identity(key, chain)


async def test_a_key_made_in_a_process_of_its_own_is_the_key(tmp_path: Path) -> None:
    files = tmp_path / "keys" / "a.key", tmp_path / "keys" / "a.pem"
    await asyncio.gather(*(asyncio.to_thread(make_elsewhere, *files) for _ in range(2)))
    made = [path.read_text() for path in files]
    make_elsewhere(*files)
    found = signing_identity(*files)
    assert [found.private_key, found.chain] == made
    files[0].unlink()
    make_elsewhere(*files)
    with pytest.raises(FileNotFoundError):
        signing_identity(*files)


# --- through the door -------------------------------------------------------------------------


@pytest.fixture
async def here(
    database: Database, redis_url: str, tmp_path: Path, accounts: PostgresAccounts, ada: Caller
) -> AsyncIterator[Ingress]:
    async with ingress(database, redis_url, tmp_path, accounts, ada) as here:
        yield here


async def test_a_made_picture_tells_where_it_came_from(here: Ingress, ada: Caller) -> None:
    upload = await here.http.post("/api/v1/assets", files={"file": ("cat.png", picture("PNG"))})
    parent_id = upload.json()["id"]
    making = Making(
        action="c2pa.edited", model="painter-1", recipe={"prompt": "hat"}, parents=(parent_id,)
    )
    child = await here.ports.intake.keep_made(ada, made(picture("PNG"), "image/png"), making)

    own = (await here.http.get(f"/api/v1/assets/{child.asset_id}/provenance")).json()
    assert (own["valid"], own["signed_by_us"], own["issuer"]) == (True, True, "Polymodal")
    assert own["ingredients"][0]["title"] == "cat.png"
    by_id = await here.http.post("/api/v1/provenance/verify", data={"asset_id": child.asset_id})
    assert by_id.json() == own

    downward = (await here.http.get(f"/api/v1/assets/{child.asset_id}/lineage")).json()
    assert downward["making"] == {
        "action": "c2pa.edited",
        "model": "painter-1",
        "recipe": {"prompt": "hat"},
    }
    assert [each["id"] for each in downward["parents"]] == [parent_id]
    upward = (await here.http.get(f"/api/v1/assets/{parent_id}/lineage")).json()
    assert (upward["making"], upward["parents"]) == (None, [])
    assert [each["id"] for each in upward["children"]] == [child.asset_id]

    content = (await here.http.get(f"/api/v1/assets/{child.asset_id}/content")).content
    by_file = await here.http.post("/api/v1/provenance/verify", files={"file": content})
    assert by_file.json() == own
    again = await here.http.post("/api/v1/assets", files={"file": ("again.png", content)})
    stripped = (await here.http.get(f"/api/v1/assets/{again.json()['id']}/provenance")).json()
    assert not stripped["signed"]


async def test_the_certificate_is_what_an_independent_reader_needs(
    here: Ingress, ada: Caller, tmp_path: Path
) -> None:
    child = await here.ports.intake.keep_made(ada, made(picture("PNG"), "image/png"), MAKING)
    root = tmp_path / "root.pem"
    root.write_bytes((await here.http.get("/api/v1/provenance/certificate")).content)
    content = (await here.http.get(f"/api/v1/assets/{child.asset_id}/content")).content
    assert independently_read(content, root)["validation_state"] == "Trusted"


async def test_verify_says_what_it_cannot_take(here: Ingress) -> None:
    verify = "/api/v1/provenance/verify"
    assert (await here.http.post(verify)).status_code == 400
    both = await here.http.post(verify, files={"file": b"x"}, data={"asset_id": "asset_x"})
    assert both.status_code == 400
    junk = await here.http.post(verify, files={"file": b"just words"})
    assert (junk.status_code, junk.json()["error"]["code"]) == (415, "unsupported_media_type")
    huge = await here.http.post(verify, files={"file": bytes(2**20 + 1)})
    assert huge.status_code == 413
    unknown = await here.http.post(verify, data={"asset_id": "asset_nobody"})
    assert unknown.status_code == 404
