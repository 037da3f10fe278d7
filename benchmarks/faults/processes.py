"""Who is who below ``polymodal up``, and what may be done to them."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import psutil

Role = Literal[
    "engine",
    "generator",
    "ingress",
    "proxy",
    "controller",
    "valkey",
    "postgres",
    "chroma",
    "encoder",
]
Fault = Literal["kill", "stop"]

SIGNALS: Final[Mapping[Fault, signal.Signals]] = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
# Ray writes the deployment into the title of a replica's process, vLLM its engine's.
_TITLES: Final[Mapping[Role, re.Pattern[str]]] = {
    "engine": re.compile(r"^VLLM::EngineCore"),
    "generator": re.compile(r"^ray::ServeReplica:\w+:Generator"),
    "ingress": re.compile(r"^ray::ServeReplica:\w+:Ingress"),
    "proxy": re.compile(r"^ray::ProxyActor|haproxy -"),
    "controller": re.compile(r"^ray::ServeController"),
    "valkey": re.compile(r"^\S*valkey-server"),
    # The postmaster; what it forks is titled "postgres: …".
    "postgres": re.compile(r"^\S*/postgres "),
    "chroma": re.compile(r"\bchroma_server\b"),
    "encoder": re.compile(r"^ray::ServeReplica:\w+:\w+Encoder"),
}
ROLES: Final[tuple[Role, ...]] = tuple(_TITLES)


@dataclass(frozen=True, slots=True)
class Member:
    """One process of the service, for as long as it lives."""

    role: Role
    process: psutil.Process

    @property
    def is_stopped(self) -> bool:
        """Whether it lives but does not run."""
        try:
            return bool(self.process.status() == psutil.STATUS_STOPPED)
        except psutil.NoSuchProcess:
            return False

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        try:
            return bool(self.process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    def hit(self, fault: Fault) -> None:
        """Kill or stop it."""
        self.process.send_signal(SIGNALS[fault])

    def end(self) -> None:
        """Kill it if it is still there."""
        try:
            self.process.kill()
        except psutil.NoSuchProcess:
            return


class Household:
    """The processes of one service."""

    def __init__(self, supervisor: int) -> None:
        """``supervisor``: process id of ``polymodal up``."""
        self._supervisor = psutil.Process(supervisor)

    def members(self) -> Sequence[Member]:
        """All that have a role, stopped ones included."""
        found = []
        for process in self._supervisor.children(recursive=True):
            try:
                title = " ".join(process.cmdline())
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            role = role_of(title)
            if role is not None:
                found.append(Member(role, process))
        return sorted(found, key=lambda member: member.process.pid)

    def of(self, role: Role) -> Sequence[Member]:
        """Those of one role, lowest process id first."""
        return [member for member in self.members() if member.role == role]


def role_of(title: str) -> Role | None:
    """What a process is by its command line; None for all others."""
    for role, pattern in _TITLES.items():
        if pattern.search(title):
            return role
    return None
