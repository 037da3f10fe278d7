"""Sentence embeddings by a small BERT, run as an ONNX graph: no torch in the process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deployments.onnx_graph import OnnxGraph, open_session

Vectors = NDArray[np.float32]

# Padding is wasted work, so a run takes few texts, of about equal length.
_TEXTS_PER_RUN: Final = 32
_MASKED: Final = -1e4


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text as the model reads it, with its opening and closing marks."""

    ids: tuple[int, ...]


class SentenceModel:
    """Mean-pooled, L2-normalised embeddings. Thread-safe.

    Args:
        folder: A sentence-transformers folder of a BERT in safetensors.
        max_tokens: The window; never more than the model has positions for.
    """

    def __init__(self, folder: Path, *, max_tokens: int) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.max_tokens = min(max_tokens, int(config["max_position_embeddings"]))
        self.dim = int(config["hidden_size"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        weights = load_file(folder / "model.safetensors")
        # Kept out of the graph: half of the model's bytes, of which a text needs a few rows.
        self._words = weights.pop("embeddings.word_embeddings.weight")
        self._session = open_session(_bert_onnx(weights, config))

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of every text, whole, however long."""
        return [Tokens(tuple(one.ids)) for one in self._tokenizer.encode_batch(list(texts))]

    def embed(self, texts: Sequence[Tokens]) -> Vectors:
        """Unit vectors, shape ``(n, dim)``, in input order; no text may pass the window."""
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        by_length = sorted(range(len(texts)), key=lambda index: len(texts[index].ids))
        for start in range(0, len(by_length), _TEXTS_PER_RUN):
            chosen = by_length[start : start + _TEXTS_PER_RUN]
            vectors[chosen] = self._run([texts[index].ids for index in chosen])
        return vectors

    def embed_passage(self, text: str) -> Vectors:
        """One unit vector, shape ``(dim,)``, for a text of any length: the mean of its windows."""
        opening, *inner, closing = self.tokenize([text])[0].ids
        room = self.max_tokens - 2
        windows = [
            Tokens((opening, *inner[start : start + room], closing))
            for start in range(0, max(1, len(inner)), room)
        ]
        weights = np.asarray([len(window.ids) for window in windows], dtype=np.float32)
        return unit(weights @ self.embed(windows))

    def _run(self, ids: list[tuple[int, ...]]) -> Vectors:
        length = max(len(one) for one in ids)
        words = np.zeros((len(ids), length, self.dim), dtype=np.float32)
        mask = np.zeros((len(ids), length), dtype=np.float32)
        for row, one in enumerate(ids):
            words[row, : len(one)] = self._words[list(one)]
            mask[row, : len(one)] = 1.0
        vectors: Vectors = self._session.run(None, {"words": words, "mask": mask})[0]
        return vectors


def unit(vector: Vectors) -> Vectors:
    """The vector at length one; a zero vector stays zero."""
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length > 0 else vector


# --- the graph --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Bert:
    """Writes the layers of a BERT; shapes are (n texts, length, hidden)."""

    graph: OnnxGraph
    weights: dict[str, NDArray[Any]]
    n_heads: int
    epsilon: float

    def linear(self, x: str, name: str) -> str:
        kernel = self.graph.floats(self.weights[f"{name}.weight"].T)
        product = self.graph.op("MatMul", x, kernel)
        return self.graph.op("Add", product, self.graph.floats(self.weights[f"{name}.bias"]))

    def norm(self, x: str, name: str) -> str:
        scale = self.graph.floats(self.weights[f"{name}.weight"])
        shift = self.graph.floats(self.weights[f"{name}.bias"])
        return self.graph.op("LayerNormalization", x, scale, shift, epsilon=self.epsilon)

    def embed(self, words: str) -> str:
        graph = self.graph
        length = graph.op("Slice", graph.op("Shape", words), graph.ints([1]), graph.ints([2]))
        positions = graph.op(
            "Slice",
            graph.floats(self.weights["embeddings.position_embeddings.weight"]),
            graph.ints([0]),
            length,
            graph.ints([0]),
        )
        kind = graph.floats(self.weights["embeddings.token_type_embeddings.weight"][0])
        total = graph.op("Add", graph.op("Add", words, positions), kind)
        return self.norm(total, "embeddings.LayerNorm")

    def layer(self, x: str, bias: str, prefix: str) -> str:
        attended = self.attention(x, bias, prefix + "attention.self.")
        attended = self.linear(attended, prefix + "attention.output.dense")
        x = self.norm(self.graph.op("Add", x, attended), prefix + "attention.output.LayerNorm")
        inner = self.gelu(self.linear(x, prefix + "intermediate.dense"))
        inner = self.linear(inner, prefix + "output.dense")
        return self.norm(self.graph.op("Add", x, inner), prefix + "output.LayerNorm")

    def attention(self, x: str, bias: str, prefix: str) -> str:
        graph = self.graph
        query = self.heads(self.linear(x, prefix + "query"), [0, 2, 1, 3])
        key = self.heads(self.linear(x, prefix + "key"), [0, 2, 3, 1])
        value = self.heads(self.linear(x, prefix + "value"), [0, 2, 1, 3])
        head_size = self.weights[prefix + "query.bias"].size / self.n_heads
        scores = graph.op("Div", graph.op("MatMul", query, key), graph.floats(head_size**0.5))
        weights = graph.op("Softmax", graph.op("Add", scores, bias), axis=-1)
        mixed = graph.op("Transpose", graph.op("MatMul", weights, value), perm=[0, 2, 1, 3])
        return graph.op("Reshape", mixed, graph.ints([0, 0, -1]))

    def heads(self, x: str, perm: list[int]) -> str:
        split = self.graph.op("Reshape", x, self.graph.ints([0, 0, self.n_heads, -1]))
        return self.graph.op("Transpose", split, perm=perm)

    def gelu(self, x: str) -> str:
        graph = self.graph
        error = graph.op("Erf", graph.op("Div", x, graph.floats(2**0.5)))
        half = graph.op("Mul", x, graph.floats(0.5))
        return graph.op("Mul", half, graph.op("Add", error, graph.floats(1.0)))


def _bert_onnx(weights: dict[str, NDArray[Any]], config: dict[str, Any]) -> bytes:
    """Inputs ``words`` (n, length, hidden) and ``mask`` (n, length); output ``vectors``."""
    graph = OnnxGraph("bert")
    hidden = config["hidden_size"]
    bert = _Bert(graph, weights, config["num_attention_heads"], config["layer_norm_eps"])
    words = graph.input("words", np.float32, ["n", "length", hidden])
    mask = graph.input("mask", np.float32, ["n", "length"])
    absent = graph.op("Sub", graph.floats(1.0), mask)
    bias = graph.op("Unsqueeze", graph.op("Mul", absent, graph.floats(_MASKED)), graph.ints([1, 2]))
    x = bert.embed(words)
    for index in range(config["num_hidden_layers"]):
        x = bert.layer(x, bias, f"encoder.layer.{index}.")
    weighted = graph.op("Mul", x, graph.op("Unsqueeze", mask, graph.ints([2])))
    # The sum points where the mean does, and only the direction survives.
    total = graph.op("ReduceSum", weighted, graph.ints([1]), keepdims=0)
    graph.output(graph.op("LpNormalization", total, axis=-1, p=2), "vectors", ["n", hidden])
    return graph.to_bytes()
