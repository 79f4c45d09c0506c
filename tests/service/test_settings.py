"""Shows the error of a bad setting, and what settings mean for connections and cores."""

import os
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from service import cli, database, settings
from tests.support.examples import JWT_SECRET
from tests.support.running import (
    PASSWORD,
)

NO_DATABASE = f"postgresql://nobody:{PASSWORD}@127.0.0.1:1/none"
BAD = [
    ("PORT", {"PORT": "x"}),
    ("PORT", {"PORT": "65536"}),
    ("PORT", {"PORT": "9" * 5_000}),
    ("WEB_THREADS", {"WEB_THREADS": "0"}),
    ("WEB_CONCURRENCY", {"WEB_CONCURRENCY": "many"}),
    ("KEEP_ALIVE", {"KEEP_ALIVE": "0"}),
    ("LOG_LEVEL", {"LOG_LEVEL": "loud"}),
    ("LOG_FORMAT", {"LOG_FORMAT": "xml"}),
    ("DATABASE_URL", {"DATABASE_URL": f"mysql://u:{PASSWORD}@here/x"}),
    ("DATABASE_URL", {"DATABASE_URL": f"postgresql://u:{PASSWORD}@[::1/x"}),
    ("DATABASE_URL", {"DATABASE_URL": f"postgresql://u:{PASSWORD}@here/x?no_such_option=1"}),
    ("DATABASE_URL", {"DATABASE_URL": f"{NO_DATABASE}?target_session_attrs=any"}),
    ("DATABASE_URL", {"DATABASE_URL": f"{NO_DATABASE}?sslmode=bogus"}),
    *[
        ("DATABASE_URL", {"DATABASE_URL": f"postgresql://u:{PASSWORD}@{bad}/x"})
        for bad in ("here:abc", "here:99999", "here:0", "one:5432,two:x")
    ],
    ("HOST", {"HOST": "256.1.1.1"}),
    ("HOST", {"HOST": "192.0.2.1"}),  # kept for documents, RFC 5737
    ("DATABASE_READ_URL", {"DATABASE_READ_URL": f"mysql://u:{PASSWORD}@here/x"}),
    ("DATABASE_READ_URL", {"DATABASE_READ_URL": f"{NO_DATABASE}?target_session_attrs=read-write"}),
    ("DATABASE_READ_URL", {"DATABASE_READ_URL": NO_DATABASE, "DATABASE_URL": ""}),
    ("JWT_SECRET", {"JWT_SECRET": "a-secret-too-short"}),
    ("JWT_SECRET", {"JWT_SECRET": ""}),
    ("JWT_SECRET", {"JWT_SECRET": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"}),
    ("JWT_PUBLIC_KEY", {"JWT_PUBLIC_KEY": "a-key"}),
    ("JWT_PUBLIC_KEY", {"JWT_SECRET": "", "JWT_PUBLIC_KEY": "@/missing"}),
    ("JWT_PUBLIC_KEY", {"JWT_SECRET": "", "JWT_PUBLIC_KEY": "not a key"}),
    ("JWT_JWKS_URL", {"JWT_JWKS_URL": "https://here/jwks"}),
    *[
        ("JWT_JWKS_URL", {"JWT_SECRET": "", "JWT_JWKS_URL": bad})
        for bad in (
            "http://elsewhere/jwks",
            "http://127.0.0.1.evil.example/jwks",
            "file:///etc/passwd",
            "https://",
            "https://here:x/",
            "here",
            f"https://u:{PASSWORD}@here/",
        )
    ],
    ("JWT_ALGORITHM", {"JWT_ALGORITHM": "none"}),
    ("JWT_ALGORITHM", {"JWT_SECRET": "", "JWT_JWKS_URL": "https://here/jwks", "JWT_ALGORITHM": "HS256"}),
    ("RATE_LIMIT", {"RATE_LIMIT": "-1"}),
    ("RATE_LIMIT", {"RATE_LIMIT": "many"}),
    *[
        ("CORS_ORIGINS", {"CORS_ORIGINS": bad})
        for bad in ("*", "null", "example.com", "https://x/", "https://X", "https://a.b,*")
    ],
    ("JWT_LEEWAY", {"JWT_LEEWAY": "-1"}),
    *[
        ("METRICS_BIND", {"METRICS_BIND": bad})
        for bad in ("here", "127.0.0.1:", ":9464", "::1:9464", "1:65536", "a b:1")
    ],
]


@pytest.mark.parametrize(("name", "variables"), BAD, ids=[f"{name}-{number}" for number, (name, _) in enumerate(BAD)])
def test_a_bad_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, variables: dict[str, str]
) -> None:
    """Nothing is started, and no secret is repeated."""
    for variable in environment_of_ours():
        monkeypatch.delenv(variable, raising=False)
    for variable, value in {"DATABASE_URL": NO_DATABASE, "JWT_SECRET": JWT_SECRET, **variables}.items():
        monkeypatch.setenv(variable, value)
    assert cli.main(["serve"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith(f"{name}: ")
    assert not [secret for secret in (PASSWORD, JWT_SECRET, "a-secret-too-short") if secret in line]


def environment_of_ours() -> list[str]:
    """Return the variables that might be set where the tests run."""
    return [name for name in os.environ if name.startswith(("JWT_", "WEB_", "LOG_")) or name in ("HOST", "PORT")]


@pytest.mark.parametrize("parameters", ["", "?target_session_attrs=read-write"])
def test_of_several_hosts_the_one_that_takes_writes_is_asked(parameters: str) -> None:
    """A standby may not know yet that a link has gone; so the URL needs no option, and can't change it."""
    url = f"postgresql://one,two/db{parameters}"
    assert settings.from_environment({"DATABASE_URL": url}).database_url == url
    parsed = conninfo_to_dict(database.conninfo(url, 5))
    assert (parsed["host"], parsed["target_session_attrs"]) == ("one,two", "read-write")


@pytest.mark.parametrize(("parameters", "balanced"), [("", "random"), ("?load_balance_hosts=disable", "disable")])
def test_of_several_standbys_any_one_is_read(parameters: str, balanced: str) -> None:
    """Never the primary, so that the URL of all hosts will do."""
    url = f"postgresql://one,two/db{parameters}"
    chosen = settings.from_environment({"DATABASE_URL": "postgresql://one,two/db", "DATABASE_READ_URL": url})
    assert chosen.database_read_url == url
    parsed = conninfo_to_dict(database.conninfo(url, 5, standby=True))
    assert (parsed["host"], parsed["target_session_attrs"], parsed["load_balance_hosts"]) == (
        "one,two",
        "standby",
        balanced,
    )


def test_a_database_that_takes_no_writes_is_not_connected_to(database_url: str) -> None:
    """Where it is the only one, the service waits for it to take writes."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(Identifier(name)))
    with pytest.raises(psycopg.OperationalError, match="read-only"):
        database.connect(database_url)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu.max": "9900000 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_only_the_cores_that_may_be_used_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], cores: int
) -> None:
    """Those of the process's affinity, within its control group's quota, of version 2 or 1."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert settings.usable_cores(tmp_path) == cores
