"""All that can travel between nodes, in the order a request flows: one frozen type per edge."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

from serve.domain.media import MediaRef

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# --- ingress -> TextEncoder ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Texts to embed together. ``purpose`` matters to models that treat queries differently."""

    texts: tuple[str, ...]
    purpose: Literal["query", "document"] = "document"


@dataclass(frozen=True, slots=True)
class Embeddings:
    """float32, shape ``(n, dim)``, rows L2-normalised, in input order; tokens counted over all."""

    vectors: NDArray[np.float32]
    n_tokens: int
    model: str


# --- ingress -> ImageEncoder, AudioEncoder ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels of the stored picture, origin top left."""

    left_px: int
    top_px: int
    right_px: int
    bottom_px: int


@dataclass(frozen=True, slots=True)
class Label:
    """A class name with its probability or score, 0 to 1."""

    name: str
    score: float


@dataclass(frozen=True, slots=True)
class DetectedObject:
    """One object found in a picture."""

    name: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of text read in a picture, in reading order."""

    text: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """One word between two times, seconds from the start of the recording."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class TranscriptSegment:
    """Speech between two times, seconds from the start of the recording.

    ``words`` is empty unless they were asked for.
    """

    start_s: float
    end_s: float
    text: str
    words: tuple[SpokenWord, ...] = ()


@dataclass(frozen=True, slots=True)
class SoundEvent:
    """A kind of sound between two times; ``score`` is the best it got, 0 to 1."""

    name: str
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePerception:
    """What a picture shows. ``vector``: unit length, in the text encoder's space."""

    labels: tuple[Label, ...]
    objects: tuple[DetectedObject, ...]
    text_lines: tuple[TextLine, ...]
    description: str
    vector: tuple[float, ...]
    encode_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPerception:
    """What a recording holds. ``language`` is an ISO 639-1 code, empty without speech."""

    segments: tuple[TranscriptSegment, ...]
    language: str
    language_probability: float
    sound_tags: tuple[Label, ...]
    vector: tuple[float, ...]
    duration_s: float
    speech_s: float
    encode_s: float
    sound_events: tuple[SoundEvent, ...] = ()

    @property
    def transcript(self) -> str:
        """The spoken text as one string."""
        return " ".join(segment.text.strip() for segment in self.segments).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """What a camera showed without a cut. ``frame_s`` is the moment of the frame that was seen.

    Everything else is of that frame; boxes are pixels of the stored video.
    """

    start_s: float
    end_s: float
    frame_s: float
    description: str
    labels: tuple[Label, ...]
    objects: tuple[DetectedObject, ...]
    text_lines: tuple[TextLine, ...]
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPerception:
    """A video as a timeline: shots in order, and what is heard. ``sound`` None: it is silent."""

    shots: tuple[Shot, ...]
    sound: AudioPerception | None
    vector: tuple[float, ...]
    duration_s: float
    encode_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPage:
    """One page. ``text`` is its own text layer, or what was read in its picture without one.

    ``number`` counts from 1.
    """

    number: int
    text: str
    is_read_from_picture: bool
    description: str
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPerception:
    """A document, page by page."""

    pages: tuple[DocumentPage, ...]
    title: str
    vector: tuple[float, ...]
    encode_s: float


Perception = ImagePerception | AudioPerception | VideoPerception | DocumentPerception


@dataclass(frozen=True, slots=True)
class Progress:
    """How far long work has come: ``done`` from 0 to 1, ``note`` its newest result in words.

    ``preview``: a small picture, as WebP, of what is being made as it looks now, or empty.
    """

    done: float
    note: str = ""
    preview: bytes = b""


Heard = TranscriptSegment | Progress | AudioPerception
"""What comes of listening: segments as they are heard, progress, and the perception last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundPart:
    """The next part of a recording: signed 16-bit little-endian mono at 16 kHz.

    ``so_far`` is ``PartHeard.so_far`` of the part before, empty for the first.
    """

    pcm: bytes
    so_far: bytes
    is_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PartHeard:
    """What came of a part. ``so_far`` is what the next one needs; only encoders can read it."""

    steps: tuple[Heard, ...]
    so_far: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptionOptions:
    """How to transcribe. ``language`` None: detect. ``prompt`` biases spelling.

    ``translate``: write English, whatever is spoken. ``words``: time every word, which takes
    about a tenth longer.
    """

    language: str | None = None
    prompt: str = ""
    temperature: float = 0.0
    translate: bool = False
    words: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What one person said in one turn; empty without speech. ``language`` is ISO 639-1."""

    text: str
    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRef:
    """Where generator-ready features of one medium lie.

    ``key`` is also the identifier under which vLLM caches the encoder's output, so it must
    depend on everything that changes the values: see ``serve.domain.perception.feature_key``.
    """

    key: str
    n_tokens: int
    dim: int


# --- ingress -> SpeechGenerator, ImageGenerator, VideoGenerator --------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechRequest:
    """Text to say. ``speed`` 1 is the voice's own; from 0.25 to 4."""

    text: str
    model: str
    voice: str
    speed: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenSentence:
    """One sentence said: ``pcm`` is signed 16-bit little-endian mono at ``sample_rate_hz``.

    Sentences follow each other without a gap; a pause belongs to the sentence before it.
    """

    text: str
    pcm: bytes
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """How long it sounds."""
        return len(self.pcm) / 2 / self.sample_rate_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintRequest:
    """A picture to make. Without ``source``, from nothing but the prompt.

    ``strength``, 0 to 1: how much of the source may go. ``mask``: a PNG of the source's size,
    painted where it is transparent (OpenAI's convention). ``preview_steps``: how many steps to
    show on the way. The same seed and request give the same picture on the same model and device.
    """

    prompt: str
    model: str
    width_px: int
    height_px: int
    seed: int
    steps: int | None = None
    guidance: float | None = None
    negative_prompt: str = ""
    source: MediaRef | None = None
    mask: MediaRef | None = None
    strength: float = 0.8
    preview_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintStep:
    """A look at a picture that is being made. ``png`` may be empty: progress only."""

    step: int
    of_steps: int
    png: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """A finished picture as PNG. ``n_batched``: pictures that shared its last step."""

    png: bytes
    width_px: int
    height_px: int
    seed: int
    steps: int
    seconds: float
    n_batched: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmRequest:
    """A clip to make, from the prompt or from a picture that becomes its first frame.

    ``checkpoint_key``: where in the object store the denoising leaves its state, and where it
    goes on from if something lies there.
    """

    prompt: str
    model: str
    width_px: int
    height_px: int
    n_frames: int
    frames_per_s: int
    seed: int
    source: MediaRef | None = None
    steps: int | None = None
    checkpoint_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmStep:
    """Progress of a clip; ``png`` is a frame as it looks now, or empty.

    ``resumed``: this work goes on from a checkpoint.
    """

    step: int
    of_steps: int
    png: bytes = b""
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class FilmLook:
    """One frame of a finished clip, ``at_s`` seconds from its start, as a small PNG."""

    at_s: float
    png: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Filmed:
    """A finished clip as MP4. ``looks``: its first frame, and one for each second."""

    mp4: bytes
    looks: tuple[FilmLook, ...]
    width_px: int
    height_px: int
    duration_s: float
    seed: int
    steps: int
    seconds: float


# --- ingress -> Moderator ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judgement:
    """Scores from 0 to 1 by category; a category that is not there was not looked for."""

    scores: dict[str, float]


# --- ingress -> Generator ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text of a message."""

    text: str


@dataclass(frozen=True, slots=True)
class NativeMediaPart:
    """A medium given to a natively multimodal generator, its features already computed."""

    media: MediaRef
    features: FeatureRef


MessagePart = TextPart | NativeMediaPart


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call the model made. ``arguments`` is JSON text."""

    call_id: str
    name: str
    arguments: str


Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One turn as the chat template sees it."""

    role: Role
    parts: tuple[MessagePart, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A function the model may call. ``parameters_json`` is a JSON Schema as text."""

    name: str
    description: str
    parameters_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to choose tokens. ``temperature`` 0 is greedy; None takes the model's own default."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """Work for the generator. What it writes goes to the journal under ``response_id``.

    ``epoch`` and ``first_seq`` go into the generator's first ``Wrote``; every later one continues.
    ``emitted_ids`` are the answer's tokens that the journal has already, from a generator that
    died: the answer goes on behind them, after ``emitted_calls`` whole tool calls.
    ``affinity``: requests with the same one profit from the same replica's prefix cache.
    ``tool_choice``: "auto", "none", "required" or the name of one tool.
    ``json_schema``: JSON Schema text the whole answer must satisfy; "{}" means any JSON object.
    """

    response_id: str
    model: str
    messages: tuple[ChatMessage, ...]
    sampling: Sampling
    epoch: int = 1
    first_seq: int = 0
    emitted_ids: tuple[int, ...] = ()
    emitted_calls: int = 0
    affinity: str = ""
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    json_schema: str | None = None


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one response. ``cached_tokens`` of the input came from the prefix cache."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


# --- anyone -> journal -> ingress -------------------------------------------------------------


class Stage(StrEnum):
    """What a person sees happening while waiting."""

    STORING = "storing"
    LISTENING = "listening"
    LOOKING = "looking"
    WATCHING = "watching"
    READING = "reading"
    WRITING = "writing"
    DRAWING = "drawing"
    SPEAKING = "speaking"
    SEARCHING = "searching"


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A node began work. ``subject``: the asset id or what the work is about, or empty."""

    stage: Stage
    subject: str
    at_unix_s: float


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far a node has come: see ``Progress``."""

    stage: Stage
    subject: str
    done: float
    note: str
    at_unix_s: float


@dataclass(frozen=True, slots=True)
class StageFinished:
    """The node is done. ``cache`` is "hit", "miss" or empty where there is no cache."""

    stage: Stage
    subject: str
    at_unix_s: float
    cache: str = ""


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits for capacity: ``place`` 1 is next. ``eta_s`` is a guess in seconds."""

    place: int
    eta_s: float
    at_unix_s: float


# A NamedTuple, like LogEntry and Wrote, because every token makes one of each: a frozen dataclass
# takes three times as long (benchmarks/scenarios/journal_cost.py).
class TextDelta(NamedTuple):
    """Text to append to the answer, with the tokens it came from.

    After any delta that has tokens, the tokens so far amount to exactly the text so far: a safe
    boundary, behind which another generator can go on.
    """

    text: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The model began calling ``name``. ``index`` counts calls of this response from 0."""

    index: int
    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolArgumentsDelta:
    """JSON text to append to the arguments of call ``index``."""

    index: int
    arguments: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolAnswered:
    """A tool of ours did what call ``call_id`` asked for.

    ``output`` is for the model, words or JSON. ``asset_id``: what was made, or empty.
    ``content_base64`` is never kept: whoever sends the event to a client that wants the bytes
    fills it in.
    """

    call_id: str
    output: str
    at_unix_s: float
    asset_id: str = ""
    has_failed: bool = False
    content_base64: str = ""


@dataclass(frozen=True, slots=True)
class ToolPreviewed:
    """How what call ``call_id`` is making looks so far: a small WebP.

    ``index`` counts them from 0, anew when the tool is run again.
    """

    call_id: str
    index: int
    webp_base64: str


@dataclass(frozen=True, slots=True)
class RoundStarted:
    """All calls of tools of ours are answered, and the model goes on. The first round is 1."""

    number: int
    at_unix_s: float


@dataclass(frozen=True, slots=True)
class Generated:
    """The generator is done; its supervisor settles the response.

    Seconds: ``queue_s`` until the first token was scheduled, ``prefill_s`` from there to the first
    token, ``decode_s`` to the last. ``usage`` counts the tokens of earlier epochs too.
    """

    reason: FinishReason
    usage: Usage
    queue_s: float
    prefill_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class Finished:
    """Last event of every response that did not fail."""

    reason: FinishReason
    usage: Usage
    at_unix_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """Last event of a response that failed. ``code`` and ``message`` as in the error body."""

    code: str
    message: str
    at_unix_s: float


LogEvent = (
    StageStarted
    | StageProgress
    | StageFinished
    | Queued
    | TextDelta
    | ToolCallStarted
    | ToolArgumentsDelta
    | ToolPreviewed
    | ToolAnswered
    | RoundStarted
    | Generated
    | Finished
    | Failed
)
TERMINAL_EVENTS = (Finished, Failed)


class LogEntry(NamedTuple):
    """One event at its place in a response's log. ``seq`` starts at 0 and has no gaps."""

    seq: int
    event: LogEvent


# --- what a finished request leaves behind ----------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSpan:
    """One graph node's share of a request. Times are seconds since the request arrived."""

    name: str
    node: str
    start_s: float
    end_s: float
    attributes: dict[str, str | int | float] = field(default_factory=dict)
