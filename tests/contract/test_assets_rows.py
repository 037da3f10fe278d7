from __future__ import annotations

from dataclasses import replace

import pytest
from blake3 import blake3

from serve.domain.errors import InvalidRequest, NotFound
from serve.domain.media import MediaKind, MediaRef, SanitizedMedia, asset_storage_key
from serve.domain.ports import Assets
from serve.domain.records import Caller, Page
from serve.storage.postgres.assets import PostgresAssets
from serve.storage.postgres.pool import Database


@pytest.fixture
def assets(database: Database) -> Assets:
    return PostgresAssets(database)


PICTURE = SanitizedMedia(
    kind=MediaKind.IMAGE, mime_type="image/png", content=b"png", width_px=640, height_px=480
)
RECORDING = SanitizedMedia(
    kind=MediaKind.AUDIO, mime_type="audio/flac", content=b"flac!", duration_s=1.25
)


async def add(assets: Assets, caller: Caller, media: SanitizedMedia = PICTURE) -> MediaRef:
    return await assets.add(
        caller, media, filename="a.png", content_hash=blake3(media.content).hexdigest()
    )


@pytest.mark.parametrize("media", [PICTURE, RECORDING], ids=["picture", "recording"])
async def test_an_asset_is_kept_with_its_measures(
    assets: Assets, ada: Caller, media: SanitizedMedia
) -> None:
    kept = await add(assets, ada, media)
    content_hash = blake3(media.content).hexdigest()
    assert kept == MediaRef(
        asset_id=kept.asset_id,
        owner_id=ada.user_id,
        kind=media.kind,
        mime_type=media.mime_type,
        content_hash=content_hash,
        storage_key=asset_storage_key(ada.user_id, content_hash),
        n_bytes=len(media.content),
        width_px=media.width_px,
        height_px=media.height_px,
        duration_s=media.duration_s,
        filename="a.png",
        created_at=kept.created_at,
    )
    assert kept.created_at is not None
    assert kept.asset_id.startswith("asset_")
    assert await assets.get(ada, kept.asset_id) == kept


async def test_equal_bytes_of_one_owner_are_one_asset(
    assets: Assets, ada: Caller, eve: Caller
) -> None:
    first, again, of_another = [await add(assets, who) for who in (ada, ada, eve)]
    assert first == again
    assert of_another.asset_id != first.asset_id
    assert of_another.storage_key != first.storage_key


async def test_others_neither_see_nor_delete_it(assets: Assets, ada: Caller, eve: Caller) -> None:
    kept = await add(assets, ada)
    assert await assets.list(eve, Page()) == ()
    for wrong in (kept.asset_id, "asset_none", "", "\x00", "\ud800"):
        with pytest.raises(NotFound):
            await assets.get(eve, wrong)
        with pytest.raises(NotFound):
            await assets.delete(eve, wrong)
    assert await assets.get(ada, kept.asset_id) == kept


async def test_a_deleted_asset_is_gone_and_may_come_again(assets: Assets, ada: Caller) -> None:
    kept = await add(assets, ada)
    assert await assets.delete(ada, kept.asset_id) == kept
    with pytest.raises(NotFound):
        await assets.get(ada, kept.asset_id)
    assert (await add(assets, ada)).asset_id != kept.asset_id


async def test_pages_follow_each_other_in_both_orders(
    assets: Assets, ada: Caller, eve: Caller
) -> None:
    made = [
        await add(assets, ada, replace(PICTURE, content=bytes([number]))) for number in range(5)
    ]
    foreign = await add(assets, eve)
    for newest_first, expected in ((True, made[::-1]), (False, made)):
        page = Page(limit=2, newest_first=newest_first)
        seen: list[MediaRef] = []
        while found := await assets.list(ada, page):
            seen += found
            page = replace(page, after=found[-1].asset_id)
        assert seen == expected
    for unknown in ("asset_none", foreign.asset_id):
        with pytest.raises(InvalidRequest) as refused:
            await assets.list(ada, Page(after=unknown))
        assert refused.value.param == "after"


async def test_any_filename_can_be_kept(assets: Assets, ada: Caller) -> None:
    kept = await assets.add(ada, PICTURE, filename="a\x00\ud800🎧", content_hash="0" * 64)
    assert await assets.get(ada, kept.asset_id) == kept
