"""What differs between two installations of the same code, read once, checked and frozen.

The environment is read here and nowhere else. A value that cannot be understood, or a
``POLYMODAL_`` variable nobody knows, stops the start and is named.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

from serve.domain.moderation import ModerationRules

PREFIX: Final = "POLYMODAL_"
FILE_VARIABLE: Final = "POLYMODAL_SETTINGS_FILE"
_MASK: Final = "***"
_DAY_S: Final = 86_400
_REPOSITORY: Final = Path(__file__).resolve().parents[2]

Profile = Literal["cpu", "gpu"]
LogLevel = Literal["debug", "info", "warning", "error"]


class BadSetting(ValueError):
    """A setting that stops the start. The message names it and says what is wrong."""


@dataclass(frozen=True, slots=True)
class ReplicaRange:
    """How many replicas there may be; written as ``2`` or ``1-4``."""

    minimum: int
    maximum: int

    def __str__(self) -> str:
        same = self.minimum == self.maximum
        return f"{self.minimum}" if same else f"{self.minimum}-{self.maximum}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What we know of a setting besides its type."""

    help: str
    default: str = ""
    derived: str = ""
    secret: bool = False
    minimum: float | None = None
    maximum: float | None = None
    schemes: tuple[str, ...] = ()


def _setting(text: str, *, default: object = "", **limits: Any) -> dict[str, _About]:
    return {"about": _About(help=text, default=str(default), **limits)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, complete: what was not given is filled in. Made by ``load_settings``.

    The four store addresses may be empty; then the embedded profile supplies them.
    """

    home: Path = field(
        metadata=_setting("Folder that holds everything the service writes.", default="var")
    )
    host: str = field(
        metadata=_setting(
            "Address to listen on; anything but loopback is up to you.", default="127.0.0.1"
        )
    )
    port: int = field(
        metadata=_setting("TCP port of the HTTP server.", default=8000, minimum=1, maximum=65_535)
    )
    public_url: str = field(
        metadata=_setting(
            "Address under which browsers and clients reach us.",
            derived="http://<host>:<port>",
            schemes=("http", "https"),
        )
    )
    profile: Profile = field(
        metadata=_setting("Which models and engine build to use: cpu or gpu.", default="cpu")
    )
    postgres_dsn: str = field(
        repr=False,
        metadata=_setting(
            "PostgreSQL, postgresql://user:password@host:port/database.",
            derived="embedded",
            secret=True,
            schemes=("postgresql", "postgres"),
        ),
    )
    redis_url: str = field(
        repr=False,
        metadata=_setting(
            "Redis or Valkey, redis://:password@host:port/0.",
            derived="embedded",
            secret=True,
            schemes=("redis", "rediss"),
        ),
    )
    chroma_url: str = field(
        metadata=_setting(
            "Chroma server, http://host:port.", derived="embedded", schemes=("http", "https")
        )
    )
    object_store_url: str = field(
        metadata=_setting(
            "Where media bytes go: file:///folder or s3://bucket/prefix.",
            derived="embedded",
            schemes=("file", "s3"),
        )
    )
    s3_endpoint_url: str = field(
        metadata=_setting(
            "Address of an S3 server that is not Amazon's.",
            derived="Amazon S3",
            schemes=("http", "https"),
        )
    )
    s3_access_key_id: str = field(
        metadata=_setting("S3 access key.", derived="the cloud's own credentials")
    )
    s3_secret_access_key: str = field(
        repr=False,
        metadata=_setting("S3 secret key.", derived="the cloud's own credentials", secret=True),
    )
    s3_region: str = field(metadata=_setting("S3 region.", derived="the server's default"))
    models_dir: Path = field(
        metadata=_setting("Where prepared model weights live.", derived="<home>/models")
    )
    feature_dir: Path = field(
        metadata=_setting(
            "Where encoder features wait for an engine; memory-backed is best.",
            derived="under /dev/shm, else <home>/features",
        )
    )
    request_timeout_s: float = field(
        metadata=_setting(
            "Longest a request may take, from arrival to its last byte.", default=300, minimum=0.1
        )
    )
    node_timeout_s: float = field(
        metadata=_setting("Longest one graph node may take to answer.", default=120, minimum=0.1)
    )
    session_ttl_s: int = field(
        metadata=_setting("How long a browser stays signed in.", default=14 * _DAY_S, minimum=60)
    )
    rate_limit_per_minute: int = field(
        metadata=_setting("Requests one caller may make in a minute.", default=600, minimum=1)
    )
    sign_in_limit_per_minute: int = field(
        metadata=_setting("Sign-in attempts per address and minute.", default=10, minimum=1)
    )
    max_waiting: int = field(
        metadata=_setting(
            "Requests that may wait for one model in each ingress process; more are refused.",
            default=2000,
            minimum=0,
        )
    )
    max_waiting_per_user: int = field(
        metadata=_setting("How many of them may be one person's.", default=1000, minimum=0)
    )
    max_running_per_user: int = field(
        metadata=_setting(
            "Answers of one model that each ingress process makes for one person at once; "
            "0: no limit.",
            default=0,
            minimum=0,
        )
    )
    max_wait_s: float = field(
        metadata=_setting(
            "Longest wait for a generator; a longer one is refused at once.",
            default=120,
            minimum=0,
        )
    )
    max_upload_bytes: int = field(
        metadata=_setting("Largest file that is taken.", default=64 * 1024 * 1024, minimum=1)
    )
    max_video_bytes: int = field(
        metadata=_setting("Largest video that is taken.", default=96 * 1024 * 1024, minimum=1)
    )
    max_image_px: int = field(
        metadata=_setting(
            "Most pixels (width times height) of a picture.", default=50_000_000, minimum=1
        )
    )
    max_audio_s: float = field(
        metadata=_setting("Longest recording, seconds.", default=4 * 3600, minimum=1)
    )
    max_pages: int = field(metadata=_setting("Most pages of a document.", default=1000, minimum=1))
    moderation_text: ModerationRules = field(
        metadata=_setting(
            "What follows from what is asked for: off, report or refuse, for all categories or "
            "one by one, as in report,sexual/minors=refuse:0.5.",
            default="report",
        )
    )
    moderation_pictures: ModerationRules = field(
        metadata=_setting(
            "The same for pictures and clips that are made here, and pictures that they are made "
            "of; only 'sexual' is seen in them.",
            default="sexual=refuse:0.8",
        )
    )
    moderation_responses: bool = field(
        metadata=_setting(
            "Check what is written and shown to text generators too, not only prompts for media.",
            default="false",
        )
    )
    provenance_key: Path = field(
        metadata=_setting(
            "Private key (PEM, ES256) that signs generated media; made at the first start.",
            derived="<home>/keys/provenance.key",
        )
    )
    provenance_certificates: Path = field(
        metadata=_setting(
            "Its certificate and the root that issued it (PEM); made with the key.",
            derived="<home>/keys/provenance.pem",
        )
    )
    provenance_recipe: bool = field(
        metadata=_setting(
            "Write prompts and settings into generated media, not only the prompt's hash.",
            default="false",
        )
    )
    max_video_s: float = field(metadata=_setting("Longest video.", default=600, minimum=1))
    max_video_px: int = field(
        metadata=_setting(
            "Most pixels (width times height) of a video.", default=4096 * 2304, minimum=1
        )
    )
    cookie_secure: bool = field(
        metadata=_setting(
            "Send the session cookie over https only.", derived="yes if public_url is https"
        )
    )
    cors_origins: tuple[str, ...] = field(
        metadata=_setting(
            "Other origins whose pages may call us, separated by commas.", derived="none"
        )
    )
    log_level: LogLevel = field(metadata=_setting("debug, info, warning or error.", default="info"))
    generators: tuple[str, ...] = field(
        metadata=_setting(
            "Catalog names of the generators to serve, the default one first.",
            derived="the profile's default",
        )
    )
    speech_generators: tuple[str, ...] = field(
        metadata=_setting(
            "Catalog names of the speech generators to serve, the default one first.",
            derived="all of the profile",
        )
    )
    generator_replicas: ReplicaRange = field(
        metadata=_setting("Replicas of each generator: 2, or 1-4 to follow the load.", default=1)
    )
    generator_gpus: float = field(
        metadata=_setting(
            "GPUs that Ray keeps for each generator replica in the profile gpu; 0.5 lets two share "
            "one.",
            default=1,
            minimum=0,
        )
    )
    ingress_replicas: int = field(
        metadata=_setting(
            "Processes that serve HTTP; with two, one may die unnoticed.", default=2, minimum=1
        )
    )
    webclient_dir: Path = field(
        metadata=_setting("The built browser client.", derived="<repository>/webclient/dist")
    )
    shutdown_grace_s: float = field(
        metadata=_setting(
            "How long parts may take to stop before they are killed.", default=20, minimum=1
        )
    )

    def as_environment(self) -> dict[str, str]:
        """The variables from which ``load_settings`` makes equal settings, for child processes."""
        return {_variable(name): _as_text(getattr(self, name)) for name in _names()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting as a person may see it; secrets are masked."""

    variable: str
    value: str
    default: str
    help: str


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Make settings from variables, and from the file that ``POLYMODAL_SETTINGS_FILE`` names.

    ``environ`` wins over the file. An empty value counts as not given.

    Raises:
        BadSetting: A value is not understood, or a variable is unknown.
    """
    given = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
    path = given.pop(FILE_VARIABLE, "")
    if path:
        given = {**_read_file(Path(path).expanduser()), **given}
    known = {_variable(name): name for name in _names()}
    for variable in given:
        if variable not in known:
            raise BadSetting(_unknown(variable, known))
    values = _with_derived(
        {
            name: _parse(variable, given.get(variable, "").strip())
            for variable, name in known.items()
        }
    )
    return Settings(**values)


def settings_from_environment() -> Settings:
    """The settings of this process."""
    return load_settings(os.environ)


def process_environment() -> dict[str, str]:
    """This process's variables without ours: what a child starts from."""
    return {name: text for name, text in os.environ.items() if not name.startswith(PREFIX)}


def describe(settings: Settings) -> tuple[SettingRow, ...]:
    """Every setting with its value, default and help, secrets masked."""
    return tuple(
        SettingRow(
            variable=_variable(name),
            value=_shown(_ABOUT[name], _as_text(getattr(settings, name))),
            default=_ABOUT[name].default or f"({_ABOUT[name].derived})",
            help=_ABOUT[name].help,
        )
        for name in _names()
    )


# --- reading ----------------------------------------------------------------------------------

_ABOUT: Final[Mapping[str, _About]] = {
    each.name: each.metadata["about"] for each in fields(Settings)
}
_TYPES: Final[Mapping[str, Any]] = get_type_hints(Settings)


def _names() -> tuple[str, ...]:
    return tuple(_ABOUT)


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _unknown(variable: str, known: Mapping[str, str]) -> str:
    names = [each.removeprefix(PREFIX) for each in (*known, FILE_VARIABLE)]
    near = difflib.get_close_matches(variable.removeprefix(PREFIX), names, n=1)
    hint = (
        f"did you mean {PREFIX}{near[0]}?" if near else "`polymodal settings` lists all there are"
    )
    return f"{variable} is not a setting; {hint}"


def _read_file(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise BadSetting(f"{FILE_VARIABLE}={str(path)!r} cannot be read: {exc}") from exc
    found: dict[str, str] = {}
    for number, raw in enumerate(lines, start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        variable, equals, text = line.partition("=")
        variable = variable.strip()
        if not equals or not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
            raise BadSetting(f"{path} line {number}: expected {PREFIX}NAME=VALUE, got {variable!r}")
        if variable in found:
            raise BadSetting(f"{path} line {number}: {variable} is given twice")
        found[variable] = _unquoted(text.strip())
    return found


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def _number(kind: type[int] | type[float], what: str) -> Callable[[str], object]:
    def parse(text: str) -> object:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(f"is not {what}") from None
        if not math.isfinite(value):
            raise ValueError(f"is not {what}")
        return value

    return parse


def _boolean(text: str) -> object:
    match text.lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
        case _:
            raise ValueError("is neither true nor false")


def _listed(text: str) -> object:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _replica_range(text: str) -> object:
    low, dash, high = text.partition("-")
    try:
        found = ReplicaRange(int(low), int(high if dash else low))
    except ValueError:
        raise ValueError("is neither a number of replicas nor a range like 1-4") from None
    if not 1 <= found.minimum <= found.maximum:
        raise ValueError("is no range of at least one replica")
    return found


def _folder(text: str) -> object:
    return Path(text).expanduser().absolute()


_PARSERS: Final[Mapping[Any, Callable[[str], object]]] = {
    str: str,
    int: _number(int, "a whole number"),
    float: _number(float, "a number"),
    bool: _boolean,
    Path: _folder,
    tuple[str, ...]: _listed,
    ReplicaRange: _replica_range,
    ModerationRules: ModerationRules.parse,
}


def _parse(variable: str, text: str) -> object:
    """The value of one setting; None when it is left to ``_with_derived``."""
    name = variable.removeprefix(PREFIX).lower()
    about, kind = _ABOUT[name], _TYPES[name]
    text = text or about.default
    if not text:
        return {str: "", tuple[str, ...]: ()}.get(kind)
    try:
        choices = get_args(kind) if kind in (Profile, LogLevel) else ()
        if choices:
            return _one_of(choices, text)
        value = _PARSERS[kind](text)
        _within(about, value)
    except ValueError as exc:
        raise BadSetting(f"{variable}={_shown(about, text)!r} {exc}") from None
    return value


def _one_of(choices: tuple[str, ...], text: str) -> str:
    if text.lower() not in choices:
        raise ValueError(f"is not one of {', '.join(choices)}")
    return text.lower()


def _within(about: _About, value: object) -> None:
    if isinstance(value, int | float):
        if about.minimum is not None and value < about.minimum:
            raise ValueError(f"is less than {about.minimum:g}")
        if about.maximum is not None and value > about.maximum:
            raise ValueError(f"is more than {about.maximum:g}")
    if about.schemes and isinstance(value, str) and urlsplit(value).scheme not in about.schemes:
        raise ValueError(f"does not begin with {' or '.join(f'{s}://' for s in about.schemes)}")


def _with_derived(values: dict[str, Any]) -> dict[str, Any]:
    home: Path = values["home"]
    values["models_dir"] = values["models_dir"] or home / "models"
    values["feature_dir"] = values["feature_dir"] or _default_feature_dir(home)
    keys = home / "keys"
    values["provenance_key"] = values["provenance_key"] or keys / "provenance.key"
    values["provenance_certificates"] = values["provenance_certificates"] or keys / "provenance.pem"
    values["webclient_dir"] = values["webclient_dir"] or _REPOSITORY / "webclient" / "dist"
    host = f"[{values['host']}]" if ":" in values["host"] else values["host"]
    values["public_url"] = (values["public_url"] or f"http://{host}:{values['port']}").rstrip("/")
    if values["cookie_secure"] is None:
        values["cookie_secure"] = values["public_url"].startswith("https://")
    return values


def _default_feature_dir(home: Path) -> Path:
    memory = Path("/dev/shm")  # noqa: S108 - our own folder in it is made 0700
    if os.access(memory, os.W_OK):
        # Named after the home: two installations on one machine must not share features.
        return memory / f"polymodal-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"
    return home / "features"


# --- showing ----------------------------------------------------------------------------------


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


def _shown(about: _About, text: str) -> str:
    if not about.secret or not text:
        return text
    parts = urlsplit(text)
    if not about.schemes or not parts.hostname:
        return _MASK
    return text.replace(f":{parts.password}@", f":{_MASK}@") if parts.password else text
