"""Which voice a name means, of the models in the catalog."""

from __future__ import annotations

import pytest

from serve.domain.catalogue import ServedModel, ServedModels
from serve.domain.errors import InvalidRequest
from serve.domain.voices import choose_voice
from serve.registry.catalog import CPU_CATALOG
from serve.registry.specs import Role

_SPEAKING = CPU_CATALOG.of_role(Role.SPEECH_GENERATOR)
_FAMILIAR = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "nova"),
    *("onyx", "sage", "shimmer", "verse", "marin", "cedar"),
)


@pytest.mark.parametrize("spec", _SPEAKING, ids=lambda spec: spec.name)
def test_every_model_knows_the_familiar_names(spec: object) -> None:
    voices = next(each for each in _SPEAKING if each is spec).voices
    for name in _FAMILIAR:
        assert name in choose_voice(voices, name).aliases
    names = [name for voice in voices for name in (voice.name, *voice.aliases)]
    assert len(names) == len(set(names))


def test_no_name_means_the_default_and_a_wrong_one_lists_the_choices() -> None:
    voices = CPU_CATALOG.get("tts-1-hd").voices
    assert choose_voice(voices, "").name == "af_heart"
    with pytest.raises(InvalidRequest, match="bm_lewis") as refused:
        choose_voice(voices, "nobody", param="audio.voice")
    assert refused.value.param == "audio.voice"


def test_a_voice_is_looked_for_in_every_model() -> None:
    models = ServedModels(
        tuple(
            ServedModel(name=spec.name, role=spec.role.value, revision="1", voices=spec.voices)
            for spec in _SPEAKING
        )
    )
    assert models.voiced("alloy").name == "hibari"
    assert models.voiced("bm_lewis").name == "kokoro-82m"
    assert models.voiced("nobody").name == "hibari"
