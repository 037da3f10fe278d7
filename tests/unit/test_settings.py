from __future__ import annotations

from pathlib import Path

import pytest

from serve.config.settings import BadSetting, ReplicaRange, describe, load_settings


def test_an_empty_environment_gives_a_loopback_installation() -> None:
    settings = load_settings({})
    assert settings.host == "127.0.0.1"
    assert settings.public_url == "http://127.0.0.1:8000"
    assert settings.home.is_absolute()
    assert settings.models_dir == settings.home / "models"
    assert settings.generators == ()
    assert settings.cookie_secure is False


def test_no_secret_has_a_working_default() -> None:
    settings = load_settings({})
    assert (settings.postgres_dsn, settings.redis_url, settings.s3_secret_access_key) == (
        "",
        "",
        "",
    )


def test_settings_survive_the_way_to_a_child_process() -> None:
    settings = load_settings(
        {
            "POLYMODAL_PUBLIC_URL": "https://talk.example.org/",
            "POLYMODAL_CORS_ORIGINS": "https://a.example, https://b.example",
            "POLYMODAL_MAX_AUDIO_S": "12.5",
            "POLYMODAL_GENERATOR_REPLICAS": "1-4",
            "POLYMODAL_REDIS_URL": "redis://:pw@127.0.0.1:7/0",
            "PATH": "/bin",
        }
    )
    assert settings.cookie_secure is True
    assert settings.public_url == "https://talk.example.org"
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.generator_replicas == ReplicaRange(1, 4)
    assert load_settings({"POLYMODAL_GENERATOR_REPLICAS": "3"}).generator_replicas == ReplicaRange(
        3, 3
    )
    assert load_settings(settings.as_environment()) == settings


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("POLYMODAL_REQUEST_TIMEOUT_S", "soon", "'soon' is not a number"),
        ("POLYMODAL_REQUEST_TIMEOUT_S", "nan", "'nan' is not a number"),
        ("POLYMODAL_REQUEST_TIMEOUT_S", "-1", "'-1' is less than 0.1"),
        ("POLYMODAL_PORT", "80.5", "'80.5' is not a whole number"),
        ("POLYMODAL_PORT", "70000", "'70000' is more than 65535"),
        ("POLYMODAL_PROFILE", "tpu", "'tpu' is not one of cpu, gpu"),
        ("POLYMODAL_COOKIE_SECURE", "maybe", "'maybe' is neither true nor false"),
        ("POLYMODAL_CHROMA_URL", "localhost:9", "does not begin with http:// or https://"),
        ("POLYMODAL_GENERATOR_REPLICAS", "many", "is neither a number of replicas nor a range"),
        ("POLYMODAL_GENERATOR_REPLICAS", "1-", "is neither a number of replicas nor a range"),
        ("POLYMODAL_GENERATOR_REPLICAS", "0-2", "is no range of at least one replica"),
        ("POLYMODAL_GENERATOR_REPLICAS", "3-2", "is no range of at least one replica"),
        ("POLYMODAL_PROT", "1", "is not a setting; did you mean POLYMODAL_PORT?"),
        ("POLYMODAL_XYZZY_QQ", "1", "is not a setting; `polymodal settings` lists all"),
    ],
)
def test_a_bad_setting_stops_the_start_and_is_named(
    variable: str, value: str, complaint: str
) -> None:
    with pytest.raises(BadSetting) as stopped:
        load_settings({variable: value})
    assert str(stopped.value).startswith(variable)
    assert complaint in str(stopped.value)


def test_a_refused_address_does_not_show_its_password() -> None:
    with pytest.raises(BadSetting) as stopped:
        load_settings({"POLYMODAL_POSTGRES_DSN": "mysql://me:hunter2@db/x"})
    assert "hunter2" not in str(stopped.value)


def test_the_listing_masks_secrets_and_explains_everything() -> None:
    settings = load_settings(
        {
            "POLYMODAL_POSTGRES_DSN": "postgresql://me:hunter2@db/x",
            "POLYMODAL_S3_SECRET_ACCESS_KEY": "hunter3",
        }
    )
    rows = {row.variable: row for row in describe(settings)}
    assert rows["POLYMODAL_POSTGRES_DSN"].value == "postgresql://me:***@db/x"
    assert rows["POLYMODAL_S3_SECRET_ACCESS_KEY"].value == "***"
    assert rows["POLYMODAL_CORS_ORIGINS"].value == ""
    assert all(row.help and row.default for row in rows.values())
    assert "hunter" not in repr(settings)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "polymodal.env"
    path.write_text('# ours\n\nPOLYMODAL_PORT=81\nPOLYMODAL_LOG_LEVEL = "DEBUG"\n')
    settings = load_settings({"POLYMODAL_SETTINGS_FILE": str(path), "POLYMODAL_PORT": "82"})
    assert (settings.port, settings.log_level) == (82, "debug")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("POLYMODAL_PORT 81", "line 1: expected POLYMODAL_NAME=VALUE"),
        ("PORT=81", "line 1: expected POLYMODAL_NAME=VALUE"),
        ("POLYMODAL_PORT=1\nPOLYMODAL_PORT=2", "line 2: POLYMODAL_PORT is given twice"),
        ("POLYMODAL_POTR=1", "did you mean POLYMODAL_PORT?"),
    ],
)
def test_a_bad_line_in_the_file_stops_the_start(
    tmp_path: Path, content: str, complaint: str
) -> None:
    path = tmp_path / "polymodal.env"
    path.write_text(content)
    with pytest.raises(BadSetting) as stopped:
        load_settings({"POLYMODAL_SETTINGS_FILE": str(path)})
    assert complaint in str(stopped.value)


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"POLYMODAL_SETTINGS_FILE=.*cannot be read"):
        load_settings({"POLYMODAL_SETTINGS_FILE": str(tmp_path / "absent")})
