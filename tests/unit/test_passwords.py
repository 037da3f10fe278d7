from __future__ import annotations

import time

import pytest

from serve.auth.passwords import MAX_LENGTH, MIN_LENGTH, Argon2Passwords
from serve.auth.tokens import API_KEY_PREFIX, SESSION_PREFIX, SETUP_PREFIX, RandomSecrets
from serve.domain.errors import InvalidRequest

GOOD = "correct horse"


@pytest.fixture(scope="module")
def passwords() -> Argon2Passwords:
    return Argon2Passwords(time_cost=1, memory_kib=1024, parallelism=1)


async def test_a_password_is_known_again(passwords: Argon2Passwords) -> None:
    kept = await passwords.hash(GOOD)
    assert kept.startswith("$argon2id$")
    assert GOOD not in kept
    assert await passwords.verify(GOOD, kept)
    assert not await passwords.verify(GOOD + "!", kept)


async def test_equal_passwords_have_different_hashes(passwords: Argon2Passwords) -> None:
    assert await passwords.hash(GOOD) != await passwords.hash(GOOD)


@pytest.mark.parametrize("length", [0, MIN_LENGTH - 1, MAX_LENGTH + 1])
async def test_too_short_and_too_long_are_refused(passwords: Argon2Passwords, length: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await passwords.hash("x" * length)
    assert refused.value.param == "password"


async def test_a_longer_password_does_not_match_its_beginning(passwords: Argon2Passwords) -> None:
    kept = await passwords.hash("x" * MAX_LENGTH)
    assert await passwords.verify("x" * MAX_LENGTH, kept)
    assert not await passwords.verify("x" * (MAX_LENGTH + 1), kept)


async def test_nothing_matches_where_nothing_is_kept(passwords: Argon2Passwords) -> None:
    assert not await passwords.verify(GOOD, None)
    assert not await passwords.verify("nobody has this password", None)


async def test_damaged_hashes_match_nothing(passwords: Argon2Passwords) -> None:
    assert not await passwords.verify(GOOD, "$argon2id$what")
    assert not await passwords.verify(GOOD, "md5")


async def test_every_character_counts_even_half_a_surrogate_pair(
    passwords: Argon2Passwords,
) -> None:
    kept = await passwords.hash("ten chars \ud83d")
    assert await passwords.verify("ten chars \ud83d", kept)
    assert not await passwords.verify("ten chars \ud83e", kept)


async def test_old_parameters_are_noticed(passwords: Argon2Passwords) -> None:
    kept = await passwords.hash(GOOD)
    assert not passwords.is_outdated(kept)
    assert Argon2Passwords(time_cost=2, memory_kib=1024, parallelism=1).is_outdated(kept)


async def test_an_unknown_address_takes_as_long_as_a_known_one() -> None:
    passwords = Argon2Passwords(time_cost=2, memory_kib=16_384, parallelism=1)
    kept = await passwords.hash(GOOD)
    await passwords.verify(GOOD, None)

    async def fastest_of_five(known: str | None) -> float:
        taken_s = []
        for _ in range(5):
            began = time.process_time()
            await passwords.verify("some other password", known)
            taken_s.append(time.process_time() - began)
        return min(taken_s)

    unknown_s, known_s = await fastest_of_five(None), await fastest_of_five(kept)
    # The work is the same; leaving it out would be a hundred times quicker.
    assert unknown_s > known_s / 3


def test_secrets_are_long_random_and_say_what_they_are() -> None:
    mint = RandomSecrets()
    for make, prefix in (
        (mint.new_api_key, API_KEY_PREFIX),
        (mint.new_session_secret, SESSION_PREFIX),
        (mint.new_setup_token, SETUP_PREFIX),
    ):
        first, second = make(), make()
        assert first != second
        assert first.startswith(prefix)
        assert len(first) - len(prefix) == 43  # 256 bits in base64


def test_digests_and_csrf_tokens_are_stable_and_tell_nothing() -> None:
    secret = RandomSecrets().new_session_secret()
    here, elsewhere = RandomSecrets(), RandomSecrets()
    assert here.digest(secret) == elsewhere.digest(secret)
    assert here.csrf_token(secret) == elsewhere.csrf_token(secret)
    assert here.csrf_token(secret) != here.digest(secret).hex()
    assert secret not in here.csrf_token(secret)
    assert len(here.digest("\ud800")) == 32
