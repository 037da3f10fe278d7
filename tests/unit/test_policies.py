from __future__ import annotations

from datetime import UTC, datetime

import pytest

from serve.auth.policies import (
    PERSON_SCOPES,
    require_scope,
    require_scopes_granted,
    session_caller,
)
from serve.domain.errors import NotAllowed
from serve.domain.records import Caller, Scope, Session, User

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def session_of(*, is_admin: bool) -> Session:
    user = User(id="user_1", email="a@b.example", name="A", is_admin=is_admin, created_at=NOW)
    return Session(id="sess_1", user=user, csrf_token="t", expires_at=NOW)


def test_a_person_may_do_everything_but_administer() -> None:
    caller = session_caller(session_of(is_admin=False))
    assert caller.scopes == PERSON_SCOPES
    assert (caller.user_id, caller.session_id, caller.key_id) == ("user_1", "sess_1", None)


def test_an_admin_may_administer() -> None:
    assert session_caller(session_of(is_admin=True)).scopes == frozenset(Scope)


@pytest.mark.parametrize("scope", Scope)
def test_a_scope_is_needed_and_enough(scope: Scope) -> None:
    require_scope(Caller(user_id="u", scopes=frozenset({scope})), scope)
    with pytest.raises(NotAllowed, match=scope.value):
        require_scope(Caller(user_id="u", scopes=frozenset(Scope) - {scope}), scope)


def test_nobody_grants_what_they_have_not() -> None:
    reader = Caller(user_id="u", scopes=frozenset({Scope.READ}))
    require_scopes_granted(reader, frozenset({Scope.READ}))
    with pytest.raises(NotAllowed, match="admin, generate"):
        require_scopes_granted(reader, frozenset({Scope.READ, Scope.GENERATE, Scope.ADMIN}))
