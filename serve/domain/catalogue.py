"""What the ingress must know of the models it offers."""

from __future__ import annotations

from dataclasses import dataclass

from serve.domain.errors import UnknownModel
from serve.domain.media import MediaKind, MediaRef
from serve.domain.voices import Voice

# Audio towers are Whisper's: they hear half a minute and drop the rest.
_HEARS_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One model that this application serves. ``revision`` changes when its answers may.

    ``modalities`` are what it understands beside text. ``voices``: with which it speaks, the
    default first.
    """

    name: str
    role: str
    revision: str
    aliases: tuple[str, ...] = ()
    modalities: tuple[MediaKind, ...] = ()
    voices: tuple[Voice, ...] = ()

    def takes(self, media: MediaRef) -> bool:
        """Whether it sees or hears the medium itself, all of it, and need not be told in words."""
        if media.kind is MediaKind.AUDIO:
            is_heard_whole = media.duration_s is not None and media.duration_s <= _HEARS_S
            return is_heard_whole and MediaKind.AUDIO in self.modalities
        return media.kind in self.modalities


@dataclass(frozen=True, slots=True)
class ServedModels:
    """All of them, the default generator first."""

    models: tuple[ServedModel, ...]

    def choose(self, role: str, name: str | None) -> ServedModel:
        """The model of that name or alias; the role's first when no name is given.

        Raises:
            UnknownModel: the message names the choices.
        """
        candidates = tuple(model for model in self.models if model.role == role)
        return _named(name, candidates) if name else candidates[0]

    def voiced(self, voice: str) -> ServedModel:
        """The first model that has this voice; the default one if none has."""
        speaking = [model for model in self.models if model.voices]
        for model in speaking:
            if any(voice in (each.name, *each.aliases) for each in model.voices):
                return model
        return self.choose("speech_generator", None)

    def named(self, name: str) -> ServedModel:
        """The model of that name or alias, whatever its role. Raises ``UnknownModel``."""
        return _named(name, self.models)


def _named(name: str, candidates: tuple[ServedModel, ...]) -> ServedModel:
    for model in candidates:
        if name in (model.name, *model.aliases):
            return model
    choices = ", ".join(model.name for model in candidates)
    raise UnknownModel(f"no model {name!r} here; choose one of: {choices}", param="model")
