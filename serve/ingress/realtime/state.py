"""What a live conversation is between two connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Self

from serve.domain.errors import InvalidRequest, NotFound
from serve.domain.ids import new_id
from serve.domain.realtime import WireFormat
from serve.domain.records import Caller, Item, JsonObject, Scope
from serve.protocol.realtime import SessionConfig
from serve.protocol.realtime_answer import AnswerPlan
from serve.protocol.realtime_items import SpokenPiece, prompt_item, truncated

_FIRST = "root"
_MAX_ITEMS = 1000
# Players count what lies in their buffers in different ways.
_LATENESS_MS = 250


@dataclass(slots=True)
class Conversation:
    """Items in order. ``spoken``: what of each was sent as sound.

    An item's ``version`` is the number of the session's event that told its last change.
    """

    id: str = field(default_factory=lambda: new_id("conv"))
    _items: dict[str, JsonObject] = field(default_factory=dict)
    _versions: dict[str, int] = field(default_factory=dict)
    spoken: dict[str, list[SpokenPiece]] = field(default_factory=dict)

    def put(self, body: JsonObject, version: int, *, after: str | None = None) -> str | None:
        """Replace the item of this id in its place, or add it. Returns what stands before it.

        ``after``: an item's id, or "root" for the beginning; None for the end.
        Raises ``InvalidRequest`` when there is no such item, or too many.
        """
        item_id = body["id"]
        if item_id not in self._items and len(self._items) >= _MAX_ITEMS:
            raise InvalidRequest(f"a session holds {_MAX_ITEMS} items; delete some", param="item")
        is_moved = after is not None and item_id not in self._items
        if is_moved and after != _FIRST:
            self.get(after or "", param="previous_item_id")
        self._items[item_id] = body
        self._versions[item_id] = version
        if is_moved:
            self._move(item_id, after)
        return self.before(item_id)

    def _move(self, item_id: str, after: str | None) -> None:
        order = [each for each in self._items if each != item_id]
        order.insert(0 if after == _FIRST else order.index(after or "") + 1, item_id)
        self._items = {each: self._items[each] for each in order}

    def before(self, item_id: str) -> str | None:
        """The id of the item before this one."""
        order = list(self._items)
        place = order.index(item_id)
        return order[place - 1] if place else None

    def has(self, item_id: str) -> bool:
        """Whether there is such an item."""
        return item_id in self._items

    def get(self, item_id: str, *, param: str = "item_id") -> JsonObject:
        """The item. Raises ``NotFound``."""
        try:
            return self._items[item_id]
        except KeyError:
            raise NotFound(f"no item {item_id!r} in this session", param=param) from None

    def delete(self, item_id: str) -> None:
        """Forget it. Raises ``NotFound``."""
        self.get(item_id)
        del self._items[item_id], self._versions[item_id]
        self.spoken.pop(item_id, None)

    def truncate(self, item_id: str, audio_end_ms: int, version: int) -> None:
        """Keep what was heard of what the assistant said. Raises ``InvalidRequest``."""
        body = self.get(item_id)
        spoken = self.spoken.get(item_id, [])
        length_ms = spoken[-1].end_ms if spoken else 0.0
        if audio_end_ms > length_ms + _LATENESS_MS:
            raise InvalidRequest(
                f"the item has {length_ms:.0f} ms of sound, audio_end_ms is {audio_end_ms}",
                param="audio_end_ms",
            )
        kept = truncated(spoken, audio_end_ms)
        text = " ".join(piece.text for piece in kept)
        part = {**body["content"][0], "transcript": text}
        self.spoken[item_id] = kept
        self.put({**body, "content": [part]}, version)

    def since(self, version: int) -> Iterator[JsonObject]:
        """Items that changed after that event."""
        return (body for key, body in self._items.items() if self._versions[key] > version)

    def prompt(self) -> tuple[Item, ...]:
        """The conversation as the generator's graph takes it."""
        return prompt_items(self._items.values())

    def to_json(self) -> JsonObject:
        """All of it."""
        return {
            "id": self.id,
            "items": [[body, self._versions[key]] for key, body in self._items.items()],
            "spoken": {
                key: [piece.to_json() for piece in pieces] for key, pieces in self.spoken.items()
            },
        }

    @classmethod
    def from_json(cls, kept: JsonObject) -> Self:
        """What ``to_json`` gave."""
        return cls(
            id=kept["id"],
            _items={body["id"]: body for body, _ in kept["items"]},
            _versions={body["id"]: version for body, version in kept["items"]},
            spoken={
                key: [SpokenPiece(**piece) for piece in pieces]
                for key, pieces in kept["spoken"].items()
            },
        )


def prompt_items(bodies: Iterable[JsonObject]) -> tuple[Item, ...]:
    """Items as the generator's graph takes them, without those that say nothing."""
    return tuple(item for body in bodies if (item := prompt_item(body)) is not None)


@dataclass(slots=True, kw_only=True)
class SessionState:
    """A session. ``token_digest`` is of the secret with which its client may come back.

    ``answer``: the conversation's last response, whose first event has the number
    ``answer_began`` and the last ``answer_ended``, None while it is being told. ``due``: a turn was
    heard that is yet to be answered. ``is_stored``: the conversation is one of the caller's.
    """

    id: str
    caller: Caller
    token_digest: str
    config: SessionConfig
    conversation: Conversation = field(default_factory=Conversation)
    n_events: int = 0
    answer: AnswerPlan | None = None
    answer_began: int = 0
    answer_ended: int | None = None
    due: bool = False
    is_stored: bool = False

    def to_json(self) -> JsonObject:
        """All of it."""
        return {
            "id": self.id,
            "user_id": self.caller.user_id,
            "scopes": sorted(self.caller.scopes),
            "key_id": self.caller.key_id,
            "token_digest": self.token_digest,
            "config": self.config.model_dump(mode="json"),
            "conversation": self.conversation.to_json(),
            "n_events": self.n_events,
            "answer": asdict(self.answer) if self.answer else None,
            "answer_began": self.answer_began,
            "answer_ended": self.answer_ended,
            "due": self.due,
            "is_stored": self.is_stored,
        }

    @classmethod
    def from_json(cls, kept: JsonObject) -> Self:
        """What ``to_json`` gave."""
        answer = kept["answer"]
        if answer is not None:
            answer = AnswerPlan(**{**answer, "format": WireFormat(answer["format"])})
        return cls(
            id=kept["id"],
            caller=Caller(
                user_id=kept["user_id"],
                scopes=frozenset(Scope(scope) for scope in kept["scopes"]),
                key_id=kept["key_id"],
            ),
            token_digest=kept["token_digest"],
            config=SessionConfig.model_validate(kept["config"]),
            conversation=Conversation.from_json(kept["conversation"]),
            n_events=kept["n_events"],
            answer=answer,
            answer_began=kept["answer_began"],
            answer_ended=kept["answer_ended"],
            due=kept["due"],
            is_stored=kept["is_stored"],
        )
