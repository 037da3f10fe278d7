"""A small diffusion transformer over pixels, conditioned on a sentence vector.

Patches of the output overlap, so that they leave no seams. The network predicts
the clean picture, which lies on a simpler manifold than noise does, and answers with the velocity
that follows from it (arXiv 2511.13720), as flow-matching schedulers want it.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

# Below this noise level, velocities from a predicted picture are divided by this instead.
MIN_SIGMA: Final = 0.05
_FREQUENCIES: Final = 128


class EmojiFlowTransformer(ModelMixin, ConfigMixin):  # type: ignore[misc] # untyped bases
    """Noisy pictures, noise levels and sentence vectors to velocities.

    ``sentence_dim`` is the length of the unit vectors that describe the picture.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int = 64,
        patch_size: int = 8,
        hidden_size: int = 256,
        num_layers: int = 7,
        num_attention_heads: int = 4,
        num_text_tokens: int = 4,
        sentence_dim: int = 384,
    ) -> None:
        super().__init__()
        side = sample_size // patch_size
        self.sentence_dim = sentence_dim
        self.sample_size = sample_size
        self.patch_size = patch_size
        self.to_patches = nn.Linear(3 * patch_size**2, hidden_size)
        self.places = nn.Parameter(0.02 * torch.randn(1, side * side, hidden_size))
        self.read_words = nn.Linear(sentence_dim, num_text_tokens * hidden_size)
        self.no_words = nn.Parameter(0.02 * torch.randn(sentence_dim))
        self.read_time = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size)
        )
        self.condition = nn.Sequential(
            nn.Linear(sentence_dim, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size)
        )
        self.blocks = nn.ModuleList(
            _Block(hidden_size, num_attention_heads) for _ in range(num_layers)
        )
        self.last_modulation = nn.Linear(hidden_size, 2 * hidden_size)
        self.to_pixels = nn.Linear(hidden_size, 3 * (2 * patch_size) ** 2)
        nn.init.zeros_(self.last_modulation.weight)
        nn.init.zeros_(self.last_modulation.bias)
        nn.init.normal_(self.to_pixels.weight, std=0.01)

    def forward(self, pictures: Tensor, sigmas: Tensor, sentences: Tensor, known: Tensor) -> Tensor:
        """Velocities towards noise.

        Args:
            pictures: shape ``(n, 3, side, side)``, ``(1 - sigma) * picture + sigma * noise``,
                pictures from -1 to 1.
            sigmas: shape ``(n,)``, noise levels from 0 to 1.
            sentences: shape ``(n, sentence_dim)``, unit vectors.
            known: bool, shape ``(n,)``: False paints whatever comes, without the sentence.
        """
        clean = self.predict(pictures, sigmas, sentences, known)
        level: Tensor = sigmas.clamp_min(MIN_SIGMA)[:, None, None, None]
        return (pictures - clean) / level

    def predict(self, pictures: Tensor, sigmas: Tensor, sentences: Tensor, known: Tensor) -> Tensor:
        """The clean pictures, as ``forward`` takes and shapes them."""
        words = torch.where(
            known[:, None], sentences * math.sqrt(self.sentence_dim), self.no_words[None]
        )
        n = len(pictures)
        tokens = self.to_patches(self._patches(pictures)) + self.places
        read = self.read_words(words).view(n, -1, tokens.shape[-1])
        tokens = torch.cat([read.to(tokens.dtype), tokens], dim=1)
        condition = functional.silu(self.read_time(_waves(sigmas)) + self.condition(words))
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.last_modulation(condition).chunk(2, dim=-1)
        tokens = _modulated(tokens[:, read.shape[1] :], shift, scale)
        return self._overlapped(self.to_pixels(tokens).to(pictures.dtype))

    # Not by functional.unfold and fold, which start one kernel per picture on an accelerator.

    def _patches(self, pictures: Tensor) -> Tensor:
        """Squares side by side, shape ``(n, patches, 3 * patch_size**2)``."""
        n, size = len(pictures), self.patch_size
        side = self.sample_size // size
        squares = pictures.view(n, 3, side, size, side, size).permute(0, 2, 4, 1, 3, 5)
        return squares.reshape(n, side * side, -1)

    def _overlapped(self, pixels: Tensor) -> Tensor:
        """The sum of patches twice as wide as they are apart, each over the middle of its place."""
        n, half = len(pixels), self.patch_size // 2
        side = self.sample_size // self.patch_size
        quarters = pixels.view(n, side, side, 3, 4, half, 4, half)
        rows = _met(quarters.permute(1, 4, 0, 3, 5, 2, 6, 7))
        columns = _met(rows.permute(5, 6, 2, 3, 0, 1, 4, 7))
        whole = columns.permute(2, 3, 4, 5, 6, 0, 1, 7)
        return whole.reshape(n, 3, self.sample_size, self.sample_size)


def _met(quarters: Tensor) -> Tensor:
    """Patches in a line, ``(side, 4, …)``, added where they overlap: ``(side, 2, …)``."""
    first, second, third, fourth = quarters.unbind(1)
    nothing = torch.zeros_like(first[:1])
    return torch.stack(
        [second + torch.cat([nothing, fourth[:-1]]), third + torch.cat([first[1:], nothing])], dim=1
    )


class _Block(nn.Module):  # type: ignore[misc] # torch is untyped here
    """Attention and a perceptron; the condition scales and shifts what they read and write."""

    def __init__(self, hidden_size: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.modulation = nn.Linear(hidden_size, 6 * hidden_size)
        self.attention_in = nn.Linear(hidden_size, 3 * hidden_size)
        self.attention_out = nn.Linear(hidden_size, hidden_size)
        self.widen = nn.Linear(hidden_size, 4 * hidden_size)
        self.narrow = nn.Linear(4 * hidden_size, hidden_size)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        parts = self.modulation(condition).chunk(6, dim=-1)
        shift_a, scale_a, gate_a, shift_b, scale_b, gate_b = parts
        attended = self._attend(_modulated(tokens, shift_a, scale_a))
        tokens = tokens + gate_a[:, None] * attended
        wide = functional.gelu(self.widen(_modulated(tokens, shift_b, scale_b)), approximate="tanh")
        return tokens + gate_b[:, None] * self.narrow(wide)

    def _attend(self, tokens: Tensor) -> Tensor:
        n, length, hidden = tokens.shape
        heads = (
            self.attention_in(tokens).view(n, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        )
        query, key, value = heads.unbind(0)
        head = query.shape[-1:]
        query, key = functional.rms_norm(query, head), functional.rms_norm(key, head)
        # By hand: for so few tokens, the fused kernel is several times slower to train on CPUs.
        weights = (query @ key.transpose(-2, -1) / math.sqrt(head[0])).softmax(dim=-1)
        mixed = weights.to(value.dtype) @ value
        out: Tensor = self.attention_out(mixed.transpose(1, 2).reshape(n, length, hidden))
        return out


def _modulated(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    normal = functional.layer_norm(tokens, tokens.shape[-1:])
    return normal * (1 + scale[:, None]) + shift[:, None]


def _waves(sigmas: Tensor) -> Tensor:
    """Sines and cosines of noise levels, shape ``(n, 256)``."""
    exponents = torch.arange(_FREQUENCIES, device=sigmas.device) / _FREQUENCIES
    angles = 1000.0 * sigmas.float()[:, None] * torch.exp(-math.log(10_000.0) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
