from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from serve.domain.errors import Conflict, InvalidRequest, NotFound
from serve.domain.ids import new_id, repeatable_ids
from serve.domain.ports import Conversations
from serve.domain.records import Caller, Conversation, Item, Page
from serve.storage.postgres.conversations import PostgresConversations
from serve.storage.postgres.pool import Database


@pytest.fixture
def conversations(database: Database) -> Conversations:
    return PostgresConversations(database)


def message(text: str) -> Item:
    item_id = new_id("msg")
    content = [{"type": "input_text", "text": text}]
    return Item(
        id=item_id,
        body={"id": item_id, "type": "message", "role": "user", "content": content},
    )


async def begun(
    conversations: Conversations, caller: Caller, *items: Item, title: str = ""
) -> Conversation:
    return await conversations.create(caller, title=title, metadata={"a": "b"}, items=items)


async def test_a_conversation_begins_with_its_items(
    conversations: Conversations, ada: Caller
) -> None:
    items = (message("one"), message("two"))
    made = await begun(conversations, ada, *items, title="Numbers")
    assert (made.title, made.metadata, made.owner_id) == ("Numbers", {"a": "b"}, ada.user_id)
    assert made.id.startswith("conv_")
    assert (await conversations.get(ada, made.id)).title == "Numbers"
    assert await conversations.all_items(ada, made.id) == items


async def test_an_empty_one_has_no_items(conversations: Conversations, ada: Caller) -> None:
    made = await begun(conversations, ada)
    assert await conversations.all_items(ada, made.id) == ()
    assert await conversations.items(ada, made.id, Page()) == ()
    await conversations.add_items(ada, made.id, ())
    assert await conversations.all_items(ada, made.id) == ()


async def test_others_see_and_change_nothing(
    conversations: Conversations, ada: Caller, eve: Caller
) -> None:
    item = message("secret")
    made = await begun(conversations, ada, item, title="Mine")
    assert await conversations.list(eve, Page()) == ()
    for wrong in (made.id, "conv_none", "", "\x00"):
        for refused in (
            conversations.get(eve, wrong),
            conversations.update(eve, wrong, title="Hers", metadata=None),
            conversations.delete(eve, wrong),
            conversations.items(eve, wrong, Page()),
            conversations.all_items(eve, wrong),
            conversations.add_items(eve, wrong, [message("hello")]),
            conversations.get_item(eve, wrong, item.id),
            conversations.delete_item(eve, wrong, item.id),
        ):
            with pytest.raises(NotFound):
                await refused
    assert (await conversations.get(ada, made.id)).title == "Mine"
    assert await conversations.all_items(ada, made.id) == (item,)


async def test_an_item_is_found_only_in_its_conversation(
    conversations: Conversations, ada: Caller
) -> None:
    item = message("here")
    here, there = await begun(conversations, ada, item), await begun(conversations, ada)
    assert await conversations.get_item(ada, here.id, item.id) == item
    with pytest.raises(NotFound):
        await conversations.get_item(ada, there.id, item.id)
    with pytest.raises(NotFound):
        await conversations.delete_item(ada, there.id, item.id)
    await conversations.delete_item(ada, here.id, item.id)
    with pytest.raises(NotFound):
        await conversations.get_item(ada, here.id, item.id)


async def test_updating_replaces_only_what_is_given(
    conversations: Conversations, ada: Caller
) -> None:
    made = await begun(conversations, ada, title="Old")
    renamed = await conversations.update(ada, made.id, title="New", metadata=None)
    assert renamed == replace(made, title="New")
    cleared = await conversations.update(ada, made.id, title=None, metadata={})
    assert cleared == replace(made, title="New", metadata={})


async def test_deleting_takes_the_items_along(
    conversations: Conversations, ada: Caller, database: Database
) -> None:
    made = await begun(conversations, ada, message("gone"))
    await conversations.delete(ada, made.id)
    with pytest.raises(NotFound):
        await conversations.get(ada, made.id)
    with pytest.raises(NotFound):
        await conversations.delete(ada, made.id)
    assert await database.rows("SELECT id FROM items") == []


async def test_the_list_has_the_last_used_first(conversations: Conversations, ada: Caller) -> None:
    first, second, third = [await begun(conversations, ada) for _ in range(3)]
    await conversations.add_items(ada, first.id, [message("again")])
    await conversations.update(ada, second.id, title="renaming is not using", metadata=None)
    listed = await conversations.list(ada, Page())
    assert [conversation.id for conversation in listed] == [first.id, third.id, second.id]
    assert listed[0].updated_at > first.updated_at


async def test_pages_of_conversations_follow_each_other(
    conversations: Conversations, ada: Caller, eve: Caller
) -> None:
    made = [await begun(conversations, ada) for _ in range(5)]
    foreign = await begun(conversations, eve)
    for newest_first, expected in ((True, made[::-1]), (False, made)):
        page = Page(limit=2, newest_first=newest_first)
        seen: list[Conversation] = []
        while found := await conversations.list(ada, page):
            seen += found
            page = replace(page, after=found[-1].id)
        assert seen == expected
    for unknown in ("conv_none", foreign.id):
        with pytest.raises(InvalidRequest):
            await conversations.list(ada, Page(after=unknown))


async def test_pages_of_items_follow_each_other(conversations: Conversations, ada: Caller) -> None:
    items = [message(str(number)) for number in range(5)]
    made = await begun(conversations, ada, *items[:2])
    await conversations.add_items(ada, made.id, items[2:])
    for newest_first, expected in ((True, items[::-1]), (False, items)):
        page = Page(limit=2, newest_first=newest_first)
        seen: list[Item] = []
        while found := await conversations.items(ada, made.id, page):
            seen += found
            page = replace(page, after=found[-1].id)
        assert seen == expected
    with pytest.raises(InvalidRequest):
        await conversations.items(ada, made.id, Page(after="msg_none"))


async def test_items_are_added_all_or_none(conversations: Conversations, ada: Caller) -> None:
    old, new = message("old"), message("new")
    made = await begun(conversations, ada, old)
    with pytest.raises(Conflict):
        await conversations.add_items(ada, made.id, [new, old])
    assert await conversations.all_items(ada, made.id) == (old,)


async def test_items_that_are_put_again_change_in_their_place(
    conversations: Conversations, ada: Caller, eve: Caller
) -> None:
    made = await begun(conversations, ada)
    first, second, third = message("first"), message("second"), message("third")
    await conversations.put_items(ada, made.id, [first, second])
    shorter = Item(id=first.id, body={**first.body, "content": []})
    await conversations.put_items(ada, made.id, [shorter, third])
    kept = await conversations.all_items(ada, made.id)
    assert [item.id for item in kept] == [first.id, second.id, third.id]
    assert kept[0].body["content"] == []
    with pytest.raises(NotFound):
        await conversations.put_items(eve, made.id, [first])


async def test_what_is_done_again_under_the_same_ids_is_done_once(
    conversations: Conversations, ada: Caller, eve: Caller
) -> None:
    async def done(caller: Caller) -> Conversation:
        with repeatable_ids("seed"):
            made = await conversations.create(
                caller, title="", metadata={}, items=(message("first"),)
            )
            await conversations.add_items(caller, made.id, [message("second"), message("third")])
            return made

    assert (await done(ada)).id == (await done(ada)).id
    (made,) = await conversations.list(ada, Page())
    assert len(await conversations.all_items(ada, made.id)) == 3
    with pytest.raises(NotFound):
        await done(eve)


async def test_writers_at_once_do_not_mix_their_items(
    conversations: Conversations, ada: Caller
) -> None:
    made = await begun(conversations, ada)
    batches = [[message(f"{writer}.{n}") for n in range(3)] for writer in range(6)]
    await asyncio.gather(*(conversations.add_items(ada, made.id, batch) for batch in batches))
    kept = list(await conversations.all_items(ada, made.id))
    assert sorted((kept[start : start + 3] for start in range(0, 18, 3)), key=str) == sorted(
        batches, key=str
    )


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("nul \x00 here", "nul \ufffd here"),
        ("escaped \\u0000 stays", "escaped \\u0000 stays"),
        ("backslash \\\x00", "backslash \\\ufffd"),
        ("half \ud83d a pair", "half ? a pair"),
        ("two \x00\x00", "two \ufffd\ufffd"),
    ],
)
async def test_any_text_can_be_kept(
    conversations: Conversations, ada: Caller, said: str, kept: str
) -> None:
    made = await begun(conversations, ada, message(said), title=said)
    (item,) = await conversations.all_items(ada, made.id)
    assert item.body["content"][0]["text"] == kept
    assert made.title == kept
