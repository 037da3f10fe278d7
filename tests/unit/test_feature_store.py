"""Where generator-ready features lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve.domain.errors import InvalidRequest
from serve.domain.perception import feature_key
from serve.storage.features import LocalFeatureStore


def test_a_key_names_one_file_that_can_be_written_at_once(tmp_path: Path) -> None:
    store = LocalFeatureStore(tmp_path / "features")
    key = feature_key("user_a", "ab" * 32, "model@1", "{}", "bfloat16")
    path = Path(store.path(key))
    assert not path.exists()
    path.write_bytes(b"features")
    assert Path(LocalFeatureStore(tmp_path / "features").path(key)).read_bytes() == b"features"
    assert path.suffix == ".safetensors"


@pytest.mark.parametrize(
    "key", ["", "ab", "../../etc/passwd", "AB" * 32, "ab" * 32 + "/..", "ab" * 32 + "\n", "g" * 64]
)
def test_anything_but_64_hexadecimal_characters_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidRequest):
        LocalFeatureStore(tmp_path).path(key)
