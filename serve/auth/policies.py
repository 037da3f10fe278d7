"""May they? Pure functions of the caller; who may see a row is in the queries."""

from __future__ import annotations

from typing import Final

from serve.domain.errors import NotAllowed
from serve.domain.records import Caller, Scope, Session

PERSON_SCOPES: Final = frozenset({Scope.GENERATE, Scope.READ, Scope.ASSETS})
"""What every signed-in person may do, and what a new key may do unless told otherwise."""


def session_caller(session: Session) -> Caller:
    """The person behind a browser session. ADMIN only for admins."""
    scopes = PERSON_SCOPES | {Scope.ADMIN} if session.user.is_admin else PERSON_SCOPES
    return Caller(user_id=session.user.id, scopes=scopes, session_id=session.id)


def require_scope(caller: Caller, scope: Scope) -> None:
    """Raises ``NotAllowed``, naming what is missing."""
    if scope not in caller.scopes:
        raise NotAllowed(f"this needs the scope {scope.value!r}", scope=scope.value)


def require_scopes_granted(caller: Caller, scopes: frozenset[Scope]) -> None:
    """Nobody gives away what they have not. Raises ``NotAllowed``."""
    lacking = ", ".join(sorted(scopes - caller.scopes))
    if lacking:
        raise NotAllowed(f"you cannot grant scopes you do not have: {lacking}", scopes=lacking)
