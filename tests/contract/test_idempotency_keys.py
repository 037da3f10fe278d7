from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from serve.domain.errors import Conflict, NotAuthenticated
from serve.domain.idempotency import KeyClaim, SavedReply
from serve.domain.ids import new_id
from serve.domain.ports import IdempotencyKeys, Responses
from serve.domain.records import Caller, ResponseRecord, ResponseStatus
from serve.storage.postgres.idempotency import PostgresIdempotencyKeys
from serve.storage.postgres.pool import Database
from serve.storage.postgres.responses import PostgresResponses

PRINT, OTHER_PRINT = b"\x01" * 32, b"\x02" * 32
REPLY = SavedReply(status=201, headers={"content-type": "text/plain"}, body=b"\x00done\xff")


@pytest.fixture
def keys(database: Database) -> IdempotencyKeys:
    return PostgresIdempotencyKeys(database)


@pytest.fixture
def hasty_keys(database: Database) -> IdempotencyKeys:
    """Claims that do not hold."""
    return PostgresIdempotencyKeys(database, lease_s=0)


def claim(caller: Caller, key: str = "k") -> KeyClaim:
    return KeyClaim(owner_id=caller.user_id, key=key, claim_id=new_id("claim"))


async def test_the_first_to_come_has_it_and_the_others_see_that(
    keys: IdempotencyKeys, ada: Caller
) -> None:
    states = await asyncio.gather(
        *(
            keys.claim(claim(ada), fingerprint=PRINT, response_id=f"resp_{number}")
            for number in range(8)
        )
    )
    assert sum(state.is_mine for state in states) == 1
    assert sum(state.is_first for state in states) == 1
    assert len({state.response_id for state in states}) == 1
    assert all(state.reply is None for state in states)


async def test_a_saved_reply_comes_back_byte_for_byte(keys: IdempotencyKeys, ada: Caller) -> None:
    mine = claim(ada)
    await keys.claim(mine, fingerprint=PRINT, response_id="resp_1")
    assert await keys.save(mine, REPLY)
    again = await keys.claim(claim(ada), fingerprint=OTHER_PRINT, response_id="resp_2")
    assert (again.is_mine, again.reply, again.fingerprint) == (False, REPLY, PRINT)
    assert again.response_id == "resp_1"


async def test_keys_of_two_people_have_nothing_to_do_with_each_other(
    keys: IdempotencyKeys, ada: Caller, eve: Caller
) -> None:
    mine = claim(ada)
    await keys.claim(mine, fingerprint=PRINT, response_id="resp_1")
    await keys.save(mine, REPLY)
    hers = await keys.claim(claim(eve), fingerprint=PRINT, response_id="resp_2")
    assert (hers.is_first, hers.reply) == (True, None)


async def test_what_was_let_go_is_taken_over_with_the_same_response(
    keys: IdempotencyKeys, ada: Caller
) -> None:
    first, second = claim(ada), claim(ada)
    await keys.claim(first, fingerprint=PRINT, response_id="resp_1")
    await keys.let_go(first)
    stranger = await keys.claim(claim(ada), fingerprint=OTHER_PRINT, response_id="resp_3")
    assert (stranger.is_mine, stranger.fingerprint) == (False, PRINT)
    state = await keys.claim(second, fingerprint=PRINT, response_id="resp_2")
    assert (state.is_mine, state.is_first, state.response_id) == (True, False, "resp_1")
    # The first one, had it only been slow, has no say any more.
    assert not await keys.extend(first)
    assert not await keys.save(first, REPLY)
    with pytest.raises(Conflict):
        await keys.replace_response(first, "resp_9")
    await keys.let_go(first)
    await keys.forget(first)
    assert await keys.replace_response(second, "resp_4")
    assert await keys.extend(second)
    assert await keys.save(second, REPLY)
    seen = await keys.claim(claim(ada), fingerprint=PRINT, response_id="resp_5")
    assert (seen.response_id, seen.reply) == ("resp_4", REPLY)


async def test_a_claim_whose_owner_died_is_taken_over(
    keys: IdempotencyKeys, hasty_keys: IdempotencyKeys, ada: Caller
) -> None:
    await hasty_keys.claim(claim(ada), fingerprint=PRINT, response_id="resp_1")
    state = await keys.claim(claim(ada), fingerprint=PRINT, response_id="resp_2")
    assert (state.is_mine, state.is_first, state.response_id) == (True, False, "resp_1")
    blocked = await keys.claim(claim(ada), fingerprint=PRINT, response_id="resp_3")
    assert not blocked.is_mine


async def test_a_forgotten_key_is_new(keys: IdempotencyKeys, ada: Caller) -> None:
    mine = claim(ada)
    await keys.claim(mine, fingerprint=PRINT, response_id="resp_1")
    await keys.forget(mine)
    state = await keys.claim(claim(ada), fingerprint=OTHER_PRINT, response_id="resp_2")
    assert (state.is_first, state.response_id) == (True, "resp_2")


async def test_an_expired_key_is_new_and_swept_away(database: Database, ada: Caller) -> None:
    brief = PostgresIdempotencyKeys(database, lease_s=0, keep_s=0)
    for key in "ab":
        mine = claim(ada, key)
        await brief.claim(mine, fingerprint=PRINT, response_id="resp_1")
        await brief.save(mine, REPLY)
    keys = PostgresIdempotencyKeys(database)
    state = await keys.claim(claim(ada, "a"), fingerprint=OTHER_PRINT, response_id="resp_2")
    assert (state.is_first, state.response_id, state.reply) == (True, "resp_2", None)
    rows = await database.rows("SELECT key FROM idempotency_keys")
    assert [row["key"] for row in rows] == ["a"]


async def test_people_who_are_gone_have_no_keys(keys: IdempotencyKeys, ada: Caller) -> None:
    ghost = replace(claim(ada), owner_id="user_ghost")
    with pytest.raises(NotAuthenticated):
        await keys.claim(ghost, fingerprint=PRINT, response_id="resp_1")


def record_of(owner: Caller, response_id: str, *, stored: bool = True) -> ResponseRecord:
    return ResponseRecord(
        id=response_id,
        owner_id=owner.user_id,
        model="smol",
        status=ResponseStatus.IN_PROGRESS,
        created_at=datetime.now(UTC),
        request={},
        input_items=(),
        stored=stored,
    )


@pytest.fixture
def responses(database: Database) -> Responses:
    return PostgresResponses(database)


async def test_an_attempt_that_wakes_too_late_cannot_commit_its_response(
    keys: IdempotencyKeys, responses: Responses, ada: Caller
) -> None:
    mine = claim(ada)
    old, new = new_id("resp"), new_id("resp")
    await keys.claim(mine, fingerprint=PRINT, response_id=old)
    assert await keys.replace_response(mine, new)
    with pytest.raises(Conflict):
        await responses.begin(ada, record_of(ada, old), supervisor="ing_1", plan={})
    await responses.begin(ada, record_of(ada, new), supervisor="ing_1", plan={})
    assert not await keys.replace_response(mine, new_id("resp"))


async def test_a_failed_response_may_be_made_again(
    keys: IdempotencyKeys, responses: Responses, ada: Caller
) -> None:
    mine = claim(ada)
    old, new = new_id("resp"), new_id("resp")
    await keys.claim(mine, fingerprint=PRINT, response_id=old)
    record = record_of(ada, old)
    await responses.begin(ada, record, supervisor="ing_1", plan={})
    assert not await keys.replace_response(mine, new)
    await responses.settle(replace(record, status=ResponseStatus.FAILED))
    assert await keys.replace_response(mine, new)


@pytest.mark.parametrize("_round", range(10))
async def test_of_a_waking_attempt_and_the_one_that_took_over_one_makes_the_response(
    keys: IdempotencyKeys, responses: Responses, ada: Caller, _round: int
) -> None:
    mine = claim(ada)
    old, new = new_id("resp"), new_id("resp")
    await keys.claim(mine, fingerprint=PRINT, response_id=old)
    began, replaced = await asyncio.gather(
        responses.begin(ada, record_of(ada, old), supervisor="ing_1", plan={}),
        keys.replace_response(mine, new),
        return_exceptions=True,
    )
    assert (began is None) != (replaced is True)


@pytest.mark.parametrize("stored", [True, False])
async def test_deleting_an_answer_deletes_the_copy_of_it(
    keys: IdempotencyKeys, responses: Responses, ada: Caller, *, stored: bool
) -> None:
    """An answer that was never to be stored vanishes by itself: its reply stays for retries."""
    record = record_of(ada, new_id("resp"), stored=stored)
    await responses.begin(ada, record, supervisor="ing_1", plan={})
    mine = claim(ada)
    await keys.claim(mine, fingerprint=PRINT, response_id=record.id)
    await keys.save(mine, REPLY)
    if stored:
        await responses.delete(ada, record.id)
    else:
        await responses.settle(replace(record, status=ResponseStatus.COMPLETED))
    state = await keys.claim(claim(ada), fingerprint=PRINT, response_id="resp_2")
    assert state.reply == (replace(REPLY, body=None) if stored else REPLY)
