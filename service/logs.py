"""How log lines look: text on a terminal, JSON elsewhere; all of them go to stderr."""

import logging
import logging.config
import sys
from typing import Any

from pythonjsonlogger.msgspec import MsgspecFormatter

from domain.instants import format_instant
from service.printable import harmless
from service.settings import Settings

_TEXT = {"()": "service.logs.Text", "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
_JSON = {
    "()": "service.logs.Json",
    "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
    "rename_fields": {"asctime": "at", "levelname": "level", "name": "logger"},
}


# Of a request's line.
_FIELDS = ("method", "route", "status", "ms", "user", "key", "workspace", "reason", "request_id", "traceparent")


class _InUtc(logging.Formatter):
    """Writes instants as everything else does: RFC 3339 in UTC, whatever the zone of the machine."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002 (logging's)
        """Return when a line was logged."""
        return format_instant(int(record.created * 1000))


class Json(_InUtc, MsgspecFormatter):
    """A line for programs: one JSON object."""


class Text(_InUtc):
    """A line for people: the message, then a request's fields."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """Return the line without what an exception adds."""
        fields = [f"{name}={getattr(record, name)}" for name in _FIELDS if hasattr(record, name)]
        return harmless(" ".join([super().formatMessage(record), *fields]))

    def formatException(self, ei: Any) -> str:  # noqa: N802, ANN401 (logging's)
        """Return the trace; its lines stay lines."""
        return "\n".join(map(harmless, super().formatException(ei).split("\n")))


def configuration(settings: Settings) -> dict[str, Any]:
    """Return the logging configuration that the settings ask for, as `logging.config` takes it."""
    text = settings.log_format == "text" or (settings.log_format is None and sys.stderr.isatty())
    level = settings.log_level.upper()
    no_paths = "INFO" if level == "DEBUG" else level  # gunicorn's debugging tells paths and queries
    to_root: dict[str, Any] = {"handlers": [], "propagate": True, "level": no_paths}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": _TEXT if text else _JSON},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": to_root,
            "psycopg.pool": {"level": "ERROR"},  # it repeats what `Trouble` has logged, at each attempt to connect
            "gunicorn.access": {"handlers": [], "propagate": False, "level": "CRITICAL"},
        },
    }


def configure(settings: Settings) -> None:
    """Send this process's log to stderr in the chosen format and level."""
    logging.config.dictConfig(configuration(settings))
