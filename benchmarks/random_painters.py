"""Picture models of the families that are served, with random weights of any size."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Final

import torch
from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

_SIZES_OF_A_PICTURE: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How big a model is. ``words``: hidden size of each text encoder."""

    words: int
    word_layers: int
    latent_channels: int
    coder_channels: int
    unet_channels: tuple[int, int]
    unet_layers: int
    head: int
    heads: int
    double_blocks: int
    single_blocks: int


TINY: Final = Shape(
    words=32,
    word_layers=2,
    latent_channels=4,
    coder_channels=32,
    unet_channels=(32, 64),
    unet_layers=1,
    head=16,
    heads=2,
    double_blocks=1,
    single_blocks=1,
)
# A tenth of the real ones, about.
MIDDLING: Final = Shape(
    words=768,
    word_layers=6,
    latent_channels=16,
    coder_channels=64,
    unet_channels=(320, 640),
    unet_layers=3,
    head=64,
    heads=24,
    double_blocks=4,
    single_blocks=8,
)


def write_sdxl(folder: Path, shape: Shape, *, is_turbo: bool = False) -> None:
    """A pipeline of the Stable Diffusion XL family; a turbo one steps by another scheduler."""
    torch.manual_seed(0)
    narrow, wide = shape.unet_channels
    time_size = shape.words // 4
    unet = UNet2DConditionModel(
        block_out_channels=(narrow, wide),
        layers_per_block=shape.unet_layers,
        in_channels=shape.latent_channels,
        out_channels=shape.latent_channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(max(1, narrow // shape.head), wide // shape.head),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_size,
        transformer_layers_per_block=(1, shape.unet_layers),
        projection_class_embeddings_input_dim=shape.words + _SIZES_OF_A_PICTURE * time_size,
        cross_attention_dim=2 * shape.words,
    )
    tokenizer = _clip_tokenizer()
    steps_by = EulerAncestralDiscreteScheduler if is_turbo else EulerDiscreteScheduler
    StableDiffusionXLPipeline(
        vae=_coder(shape),
        text_encoder=CLIPTextModel(_clip_config(shape)),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(shape)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=steps_by(timestep_spacing="trailing" if is_turbo else "leading"),
        add_watermarker=False,
    ).save_pretrained(folder)


def write_flux(folder: Path, shape: Shape, *, is_told_guidance: bool = False) -> None:
    """A pipeline of the FLUX.1 family: like schnell, or, told of guidance, like dev."""
    torch.manual_seed(0)
    # A quarter for nothing, and the rest for rows and columns alike; all of them even.
    axes = (shape.head // 4, shape.head * 3 // 8, shape.head * 3 // 8)
    transformer = FluxTransformer2DModel(
        in_channels=4 * shape.latent_channels,
        num_layers=shape.double_blocks,
        num_single_layers=shape.single_blocks,
        attention_head_dim=shape.head,
        num_attention_heads=shape.heads,
        joint_attention_dim=shape.words,
        pooled_projection_dim=shape.words,
        axes_dims_rope=axes,
        guidance_embeds=is_told_guidance,
    )
    reader = T5EncoderModel(
        T5Config(
            d_model=shape.words,
            d_ff=4 * shape.words,
            d_kv=shape.words // 4,
            num_heads=4,
            num_layers=shape.word_layers,
            vocab_size=64,
        )
    )
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0 if is_told_guidance else 1.0, use_dynamic_shifting=is_told_guidance
        ),
        vae=_coder(shape, shift=0.1),
        text_encoder=CLIPTextModel(_clip_config(shape)),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=reader,
        tokenizer_2=_t5_tokenizer(),
        transformer=transformer,
    ).save_pretrained(folder)


def _coder(shape: Shape, *, shift: float | None = None) -> Any:
    return AutoencoderKL(
        block_out_channels=[shape.coder_channels] * 4,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=shape.latent_channels,
        shift_factor=shift,
    )


def _clip_config(shape: Shape) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=shape.words,
        intermediate_size=4 * shape.words,
        num_attention_heads=4,
        num_hidden_layers=shape.word_layers,
        vocab_size=64,
        projection_dim=shape.words,
        bos_token_id=0,
        eos_token_id=1,
        hidden_act="gelu",
    )


def _clip_tokenizer() -> CLIPTokenizer:
    ends = [f"{letter}</w>" for letter in ascii_lowercase]
    words = ["<|startoftext|>", "<|endoftext|>", *ascii_lowercase, *ends]
    with tempfile.TemporaryDirectory() as scratch:
        vocabulary, merges = Path(scratch, "vocab.json"), Path(scratch, "merges.txt")
        numbers = {word: number for number, word in enumerate(words)}
        vocabulary.write_text(json.dumps(numbers), encoding="utf-8")
        merges.write_text("#version: 0.2\n", encoding="utf-8")
        return CLIPTokenizer(str(vocabulary), str(merges), model_max_length=77)


def _t5_tokenizer() -> T5Tokenizer:
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(letter, -3.0) for letter in ascii_lowercase]
    return T5Tokenizer(vocab=[*marks, *letters], extra_ids=0, model_max_length=512)
