"""``/v1/chat/completions``: the same run as ``/v1/responses``, told in other words."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from serve.domain.messages import Finished, FinishReason
from serve.domain.records import ResponseRecord
from serve.ingress.aloud import SpokenChat, speaker, with_words
from serve.ingress.answering import batches_of, begin, wait_for_answer
from serve.ingress.authentication import GeneratingCaller
from serve.ingress.context import Ports, reply_headers
from serve.ingress.leaving import unless_left
from serve.ingress.streaming import ChatFrames, EventStream
from serve.protocol.chat import (
    ChatChunks,
    CreateChatCompletion,
    render_completion,
    render_spoken_completion,
    to_create_response,
)

router = APIRouter(prefix="/v1/chat", tags=["chat"])


@router.post("/completions")
async def create(
    body: CreateChatCompletion, request: Request, ports: Ports, caller: GeneratingCaller
) -> Response:
    """Complete a chat, as a stream of chunks or whole, in writing or aloud."""
    aloud = body.aloud and speaker(ports, caller, body.aloud)
    asked = to_create_response(await with_words(ports, caller, body))
    run = await begin(ports, caller, asked, reply_headers(request.scope))
    if not body.stream:
        record = await wait_for_answer(run, request)
        completion = render_completion(record, _reason(record))
        text = completion["choices"][0]["message"]["content"]
        said = aloud.say_all(text, record.id) if aloud and text else None
        sound = await unless_left(request, said) if said else None
        return JSONResponse(render_spoken_completion(completion, sound) if sound else completion)
    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    chunks = ChatChunks(run.record, include_usage=include_usage)
    batches = batches_of(ports, run.record)
    if aloud:
        return SpokenChat(run, batches, chunks, aloud)
    return EventStream(batches, ChatFrames(chunks), run=run)


def _reason(record: ResponseRecord) -> FinishReason:
    last = record.log[-1].event if record.log else None
    return last.reason if isinstance(last, Finished) else FinishReason.STOP
