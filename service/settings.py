"""The settings from the environment, checked once, so that a bad value fails at start and by its name."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from api.auth import sessions
from api.auth.sessions import BadKeyError, FixedKey, Keys, Sessions

MIN_THREADS = 1
MOST_PORT = 65_535
_SSL_MODES = ("prefer", "disable", "allow", "require", "verify-ca", "verify-full")
_BIND = re.compile(r"((?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):)?(?P<port>[0-9]{1,5})")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")  # RFC 6454, 6.1


class BadSettingError(Exception):
    """A variable of the environment has a value that can't be used; the text names it and never repeats a secret."""


@dataclass(frozen=True)
class Settings:
    """All that may differ between two installations."""

    database_url: str | None
    database_read_url: str | None  # of standbys
    home: Path
    host: str
    port: int
    processes: int
    threads: int  # beside the event loop of each process
    keep_alive: int  # seconds
    log_level: str
    log_format: Literal["text", "json"] | None
    sessions: Sessions | None
    rate_limit: int  # requests a minute for one key, 0 for any number
    reading_origins: tuple[str, ...]
    embedding_origins: tuple[str, ...]
    metrics_bind: tuple[str, int] | None  # host and port of a projector that runs alone; None: nowhere
    traces: bool  # OpenTelemetry's own variables say where to and which


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Return the settings that these variables give; raise BadSettingError for the first that can't be used."""
    return Settings(
        database_url=_database_url(environment, "DATABASE_URL", "read-write"),
        database_read_url=_database_read_url(environment),
        home=Path(environment.get("CAMPAIGN_ANALYTICS_HOME") or "var"),
        host=environment.get("HOST") or "127.0.0.1",
        port=_number(environment, "PORT", 8000, 0, MOST_PORT),
        processes=_number(environment, "WEB_CONCURRENCY", usable_cores(), 1, 1_000),
        threads=_number(environment, "WEB_THREADS", 2, MIN_THREADS, 1_000),
        keep_alive=_number(environment, "KEEP_ALIVE", 65, 1, 3_600),
        log_level=_one_of(environment, "LOG_LEVEL", "info", ("debug", "info", "warning", "error", "critical")),
        log_format=_log_format(environment),
        sessions=_sessions(environment),
        rate_limit=_number(environment, "RATE_LIMIT", 0, 0, 1_000_000),
        reading_origins=_origins(environment, "CORS_ORIGINS"),
        embedding_origins=_origins(environment, "EMBED_ORIGINS"),
        metrics_bind=_metrics_bind(environment),
        traces=_traces(environment),
    )


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may use: those of its affinity, and of its control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = None
    with suppress(OSError, ValueError):  # no control groups, or no quota
        quota, period = map(int, (cgroup / "cpu.max").read_text(encoding="ascii").split())  # version 2
    with suppress(OSError, ValueError):
        if quota is None:
            quota, period = (int((cgroup / "cpu" / f"cpu.cfs_{each}_us").read_text()) for each in ("quota", "period"))
    return max(1, min(cores, ceil(quota / period))) if quota and quota > 0 else cores


def _number(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environment.get(name)
    if not text:
        return default
    if not (re.fullmatch(r"[0-9]{1,9}", text) and least <= int(text) <= most):
        msg = f"{name}: expected a number from {least} to {most}"
        raise BadSettingError(msg)
    return int(text)


def _one_of(environment: Mapping[str, str], name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = environment.get(name) or default
    if value not in allowed:
        msg = f"{name}: expected one of {', '.join(allowed)}"
        raise BadSettingError(msg)
    return value


def _log_format(environment: Mapping[str, str]) -> Literal["text", "json"] | None:
    value = _one_of(environment, "LOG_FORMAT", "auto", ("auto", "text", "json"))
    return None if value == "auto" else "text" if value == "text" else "json"


def _database_url(environment: Mapping[str, str], name: str, server: str) -> str | None:
    """Return a URL; which of its hosts are connected to is no choice of its own, so it can't say otherwise."""
    url = environment.get(name)
    if not url:
        return None
    parameters = _conninfo(url) if url.startswith(("postgresql://", "postgres://")) else None
    if parameters is None:
        msg = f"{name}: expected postgresql://user@host:port/database"
        raise BadSettingError(msg)
    for port in str(parameters.get("port", "")).split(","):
        if port and not (port.isdecimal() and 1 <= int(port) <= MOST_PORT):
            msg = f"{name}: expected a port from 1 to {MOST_PORT}"
            raise BadSettingError(msg)
    if parameters.get("sslmode", _SSL_MODES[0]) not in _SSL_MODES:
        msg = f"{name}: sslmode: expected one of {', '.join(_SSL_MODES)}"
        raise BadSettingError(msg)
    if parameters.get("target_session_attrs", server) != server:
        msg = f"{name}: target_session_attrs: expected {server}, which it is by itself"
        raise BadSettingError(msg)
    return url


def _database_read_url(environment: Mapping[str, str]) -> str | None:
    url = _database_url(environment, "DATABASE_READ_URL", "standby")
    if url is not None and not environment.get("DATABASE_URL"):
        msg = "DATABASE_READ_URL: expected only with DATABASE_URL, of which it names standbys"
        raise BadSettingError(msg)
    return url


def _conninfo(text: str) -> Mapping[str, object] | None:
    try:
        return conninfo_to_dict(text)
    except ProgrammingError:  # not chained or shown: it repeats the text, and with it the password
        return None


def _sessions(environment: Mapping[str, str]) -> Sessions | None:
    """Return the verifier of session cookies; None where no key is configured."""
    names = [name for name in ("JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_JWKS_URL") if environment.get(name)]
    if not names:
        return None
    if len(names) > 1:
        msg = f"{names[1]}: expected only one of JWT_SECRET, JWT_PUBLIC_KEY, JWT_JWKS_URL"
        raise BadSettingError(msg)
    (name,) = names
    try:
        keys = _keys(name, environment[name], environment.get("JWT_ALGORITHM") or None)
    except BadKeyError as error:
        msg = f"{'JWT_ALGORITHM' if error.algorithm else name}: {error}"
        raise BadSettingError(msg) from error
    return Sessions(
        keys,
        issuer=environment.get("JWT_ISSUER") or None,
        audience=environment.get("JWT_AUDIENCE") or None,
        leeway=_number(environment, "JWT_LEEWAY", 10, 0, 3_600),
    )


def _keys(name: str, value: str, algorithm: str | None) -> Keys:
    if name == "JWT_JWKS_URL":
        from api.auth.published_keys import PublishedKeys  # noqa: PLC0415 (what fetches and checks takes long to import)

        return PublishedKeys(value, algorithm=algorithm)
    if name == "JWT_SECRET":
        return FixedKey(sessions.secret(value), algorithm)
    if value.startswith("@"):
        try:
            value = Path(value[1:]).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"JWT_PUBLIC_KEY: {value[1:]} can't be read"
            raise BadSettingError(msg) from error
    from api.auth import tokens  # noqa: PLC0415 (as above)

    return FixedKey(tokens.public_key(value), algorithm)


def _metrics_bind(environment: Mapping[str, str]) -> tuple[str, int] | None:
    """Return a host and port; a port alone is one of this machine's own."""
    value = environment.get("METRICS_BIND")
    if not value:
        return None
    found = _BIND.fullmatch(value)
    if found is None or int(found["port"]) > MOST_PORT:
        raise BadSettingError("METRICS_BIND: expected a port, or host:port such as 127.0.0.1:9464")
    return (found["host"] or "127.0.0.1").strip("[]"), int(found["port"])


def _traces(environment: Mapping[str, str]) -> bool:
    """Return whether OpenTelemetry's variables name a collector, and none of them switches spans off."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    is_named = any(environment.get(name) for name in names)
    is_off = (environment.get("OTEL_SDK_DISABLED") or "").strip().lower() == "true"
    return is_named and not is_off and environment.get("OTEL_TRACES_EXPORTER") in (None, "", "otlp")


def _origins(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the origins that a variable lists, separated by commas or spaces, each as a browser sends it."""
    origins = (environment.get(name) or "").replace(",", " ").split()
    if not all(_ORIGIN.fullmatch(origin) for origin in origins):
        msg = f"{name}: expected origins such as https://app.example.com, separated by commas"
        raise BadSettingError(msg)
    return tuple(origins)
