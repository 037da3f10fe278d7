"""Whom a load can be put on: a server at a URL, or one that is started for the comparison."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final, Protocol

import orjson

from benchmarks.load.client import Client, Endpoint, Patience
from benchmarks.load.frames import Api, ReplyReader
from benchmarks.load.outcomes import Measured, Outcome
from benchmarks.load.rounds import Round
from benchmarks.load.schedule import Watch
from benchmarks.load.wire import Address, ConnectFailed, ConnectionBroken, Pool, request_bytes
from benchmarks.load.workload import BadWorkload

_START_S: Final = 300.0
_STOP_S: Final = 15.0
_POLL_S: Final = 0.1
# Where an interpreter of another environment finds our modules.
_SOURCES: Final = Path(__file__).resolve().parents[2]
_LONGEST_LINE: Final = 1 << 28


class NotAvailable(Exception):
    """This target cannot be had here; the message says why and what would help."""


class Target(Protocol):
    """Somebody to measure."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def pids(self) -> Sequence[int]:
        """Roots of its process trees; none for a server elsewhere."""
        ...

    async def start(self) -> None:
        """Get ready. Raises NotAvailable."""
        ...

    async def measure(self, task: Round, watch: Watch) -> Measured:
        """Put one round on it."""
        ...

    async def stop(self) -> None:
        """Let go, and end what was started."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """``NAME=WHAT[,option=value…]`` taken apart.

    Attributes:
        what: a URL, or one of ``OWN``.
        model: its name at the server.
        python: another environment's interpreter that has the program.
        upstream: URL that a gateway passes requests on to.
    """

    name: str
    what: str
    model: str = ""
    api_key: str = ""
    api: Api = "chat"
    streams: bool = True
    pids: tuple[int, ...] = ()
    python: str = sys.executable
    upstream: str = ""
    tokens_per_s: float = 20.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, defaults: TargetSpec) -> TargetSpec:
        """Options not named are those of ``defaults``. Raises BadWorkload."""
        name, equals, rest = text.partition("=")
        what, *options = rest.split(",")
        if not equals or not what:
            raise BadWorkload(f"{text!r}: write NAME=URL or NAME={'|'.join(OWN)}")
        spec = replace(defaults, name=name, what=what)
        for option in options:
            key, _, value = option.partition("=")
            spec = spec._with(key, value)
        return spec

    def _with(self, key: str, value: str) -> TargetSpec:
        if key == "model":
            return replace(self, model=value)
        if key == "api_key":
            return replace(self, api_key=value)
        if key == "python":
            return replace(self, python=value)
        if key == "upstream":
            return replace(self, upstream=value)
        if key == "api" and value in ("chat", "responses"):
            return replace(self, api="chat" if value == "chat" else "responses")
        if key == "pid" and value.isdecimal():
            return replace(self, pids=(*self.pids, int(value)))
        if key == "tokens_per_s":
            return replace(self, tokens_per_s=float(value))
        known = "model, api_key, api=chat|responses, pid, python, upstream, tokens_per_s"
        raise BadWorkload(f"{key}={value}: known are {known}")

    def endpoint(self, url: str) -> Endpoint:
        """How the server at ``url`` is spoken to."""
        return Endpoint(
            url=url,
            model=self.model,
            api_key=self.api_key,
            api=self.api,
            streams=self.streams,
            extra=self.extra,
        )


class UrlTarget:
    """A server that runs already."""

    def __init__(self, spec: TargetSpec, patience: Patience, *, verifies: bool) -> None:
        self.name = spec.name
        self.pids: Sequence[int] = spec.pids
        self._spec = spec
        self._patience = patience
        self._verifies = verifies
        self._client: Client | None = None

    async def start(self) -> None:
        """Nothing is sent yet."""
        self._open(self._spec.what)

    def _open(self, url: str) -> None:
        self._client = Client(self._spec.endpoint(url), self._patience, verifies=self._verifies)

    async def measure(self, task: Round, watch: Watch) -> Measured:
        """Over connections that stay open from round to round."""
        if self._client is None:
            raise RuntimeError("measure comes after start")
        return await task.run(self._client, watch)

    async def stop(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()


@dataclass(frozen=True, slots=True)
class Program:
    """A server to start: its words, what its environment adds, and where it says it is ready."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready_path: str


class OwnServer(UrlTarget):
    """A server started for the comparison, on a free port, ended with it."""

    def __init__(
        self,
        spec: TargetSpec,
        patience: Patience,
        program: Callable[[TargetSpec, int], Program],
        *,
        verifies: bool,
    ) -> None:
        super().__init__(spec, patience, verifies=verifies)
        self._program = program
        self._child: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server

    async def start(self) -> None:
        """Start it and wait until it answers. Raises NotAvailable."""
        port = free_port()
        program = self._program(self._spec, port)
        self._child = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            program.command,
            env={**os.environ, **program.environment},
            cwd=_SOURCES,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pids = (self._child.pid,)
        url = f"http://127.0.0.1:{port}"
        try:
            async with asyncio.timeout(_START_S):
                while not await answers(url, program.ready_path):
                    if self._child.poll() is not None:
                        raise NotAvailable(
                            f"{self.name} ended while starting: {last_words(self._log)}"
                        )
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise NotAvailable(f"{self.name} was not ready in {_START_S:.0f} s") from error
        self._open(url)

    async def stop(self) -> None:
        """End it with everything it started."""
        await super().stop()
        if self._child is not None:
            await asyncio.to_thread(end, self._child)
        self._log.close()


class EngineTarget:
    """``AsyncLLM`` in a process of its own, asked without any protocol: what a server starts from.

    That process makes the load as well, so its processor time is not compared.
    """

    def __init__(self, spec: TargetSpec, patience: Patience) -> None:
        self.name = spec.name
        self._spec = spec
        self._patience = patience
        self._child: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the engine

    @property
    def pids(self) -> Sequence[int]:
        """The engine's process."""
        return (self._child.pid,) if self._child else ()

    async def start(self) -> None:
        """Load the model. Raises NotAvailable."""
        if importlib.util.find_spec("vllm") is None:
            raise NotAvailable("vLLM is not installed")
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                [sys.executable, "-m", "benchmarks.load.engine", str(theirs.fileno())],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                cwd=_SOURCES,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        opened = await asyncio.open_connection(sock=ours, limit=_LONGEST_LINE)
        self._reader, self._writer = opened
        ready = await self._call({"model": self._spec.model})
        if "error" in ready:
            raise NotAvailable(f"the engine did not start: {ready['error']}")

    async def measure(self, task: Round, watch: Watch) -> Measured:
        """The child runs the round; the watch sees its requests when it is over.

        There are no media in it. Raises NotAvailable when the engine died.
        """
        told = await self._call({"round": task})
        if "error" in told:
            raise NotAvailable(f"the engine died: {told['error']}")
        outcomes = [Outcome(**outcome) for outcome in told["outcomes"]]
        for outcome in outcomes:
            watch.began()
            watch.ended(outcome)
        return Measured(outcomes, told["wall_s"], told["lag_s"])

    async def stop(self) -> None:
        """End the engine."""
        if self._writer is not None:
            self._writer.close()
        if self._child is not None:
            await asyncio.to_thread(end, self._child)
        self._log.close()

    async def _call(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._reader is None or self._writer is None:
            raise RuntimeError("measure comes after start")
        self._writer.write(orjson.dumps(message) + b"\n")
        line = await self._reader.readline()
        answer: dict[str, Any] = orjson.loads(line) if line else {"error": last_words(self._log)}
        return answer


def _vllm_serve(spec: TargetSpec, port: int) -> Program:
    if importlib.util.find_spec("vllm") is None and spec.python == sys.executable:
        raise NotAvailable("vLLM is not installed")
    from deployments.generation.engine import engine_environment, gpu_share
    from deployments.loading import model_dir

    model, models_dir = generator(spec.model)
    traits, folder = model.traits, model_dir(model, models_dir)
    # What `vllm serve` runs. The command itself asks for metadata that the CPU wheel lacks.
    command = [spec.python, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(folder), "--served-model-name", model.name]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", model.dtype]
    command += ["--max-num-seqs", str(traits.max_num_seqs)]
    # As our own engine has it: see ``start_engine``.
    if not _has_gpu():
        command += ["--enforce-eager"]
    elif traits.kv_cache_bytes:
        command += ["--gpu-memory-utilization", f"{gpu_share(model, folder):.3f}"]
    if traits.kv_cache_bytes:
        command += ["--kv-cache-memory-bytes", str(traits.kv_cache_bytes)]
    if model.max_input_tokens:
        command += ["--max-model-len", str(model.max_input_tokens)]
    command += ["--distributed-executor-backend", "uni", "--disable-uvicorn-access-log"]
    return Program(tuple(command), engine_environment(), "/health")


def _has_gpu() -> bool:
    if importlib.util.find_spec("vllm") is None:
        return False
    from vllm.platforms import current_platform

    return not current_platform.is_cpu()


def _bare(spec: TargetSpec, port: int) -> Program:
    rate = f"--tokens-per-s={spec.tokens_per_s}"
    command = (spec.python, "-m", "benchmarks.load.bare_server", f"--port={port}", rate)
    return Program(command, {}, "/v1/models")


def _ray_serve_llm(spec: TargetSpec, port: int) -> Program:
    _must_have(spec, "ray.serve.llm", "ray.serve.llm")
    from deployments.generation.engine import engine_environment
    from deployments.loading import model_dir

    model, models_dir = generator(spec.model)
    engine = {
        "dtype": model.dtype,
        "enforce_eager": True,
        "max_num_seqs": model.traits.max_num_seqs,
        "max_model_len": model.max_input_tokens or None,
        "kv_cache_memory_bytes": model.traits.kv_cache_bytes or None,
    }
    command = (
        *(spec.python, "-m", "benchmarks.load.ray_llm_server", str(port), model.name),
        *(str(model_dir(model, models_dir)), orjson.dumps(engine).decode()),
    )
    return Program(command, engine_environment(), "/v1/models")


def _litellm(spec: TargetSpec, port: int) -> Program:
    _must_have(spec, "litellm", "LiteLLM")
    if not spec.upstream:
        raise NotAvailable("LiteLLM needs upstream=URL, the server that it passes requests on to")
    command = [spec.python, "-c", "import litellm; litellm.run_server()"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--model", f"openai/{spec.model}"]
    command += ["--api_base", f"{spec.upstream.rstrip('/').removesuffix('/v1')}/v1"]
    environment = {
        "OPENAI_API_KEY": spec.api_key or "none",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        # It listens on the loopback interface, for the length of the comparison.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    return Program(tuple(command), environment, "/health/liveliness")


def _must_have(spec: TargetSpec, module: str, title: str) -> None:
    tried = subprocess.run(
        [spec.python, "-c", f"import {module}"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        why = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NotAvailable(
            f"{title} is not installed ({why}); python=PATH names an environment that has it"
        )


OWN: Final[Mapping[str, Callable[[TargetSpec, int], Program] | None]] = {
    "asyncllm": None,
    "vllm-serve": _vllm_serve,
    "ray-serve-llm": _ray_serve_llm,
    "bare": _bare,
    "litellm": _litellm,
}


def make_target(spec: TargetSpec, patience: Patience, *, verifies: bool = False) -> Target:
    """The target a spec means. Raises BadWorkload for one that does not exist."""
    if spec.what.startswith(("http://", "https://")):
        return UrlTarget(spec, patience, verifies=verifies)
    if spec.what not in OWN:
        raise BadWorkload(f"{spec.what!r} is neither a URL nor one of {', '.join(OWN)}")
    program = OWN[spec.what]
    if program is None:
        return EngineTarget(spec, patience)
    return OwnServer(spec, patience, program, verifies=verifies)


def generator(name: str) -> tuple[Any, Path]:
    """A generator of the catalog, and the folder its weights lie in."""
    from serve.config.settings import settings_from_environment
    from serve.registry.catalog import catalog
    from serve.registry.specs import Role

    settings = settings_from_environment()
    return catalog(settings.profile).get(name, Role.GENERATOR), settings.models_dir


async def answers(url: str, path: str) -> bool:
    """Whether a server says 200 to GET ``path``."""
    pool = Pool(Address.of(url), connect_timeout_s=2.0)
    reader = ReplyReader("chat", streams=False)
    try:
        async with asyncio.timeout(5.0):
            await pool.exchange(request_bytes("GET", path, pool.address, {}), reader)
    except (ConnectFailed, ConnectionBroken, TimeoutError):
        return False
    finally:
        pool.close()
    return reader.status == 200


def last_words(log: IO[bytes]) -> str:
    """The end of what a child said."""
    log.seek(0)
    return " / ".join(log.read().decode(errors="replace").strip().split("\n")[-6:])[-600:]


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child and what it started; blocks until it is gone. It leads a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
