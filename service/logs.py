"""How log lines look: text on a terminal, JSON elsewhere; all of them go to stderr."""

import logging.config
import sys
from typing import Any

from service.settings import Settings

_TEXT = {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
_JSON = {
    "()": "pythonjsonlogger.json.JsonFormatter",
    "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
    "rename_fields": {"asctime": "at", "levelname": "level", "name": "logger"},
}


def configuration(settings: Settings) -> dict[str, Any]:
    """Return the logging configuration that the settings ask for, as `logging.config` takes it."""
    text = settings.log_format == "text" or (settings.log_format is None and sys.stderr.isatty())
    to_root: dict[str, Any] = {"handlers": [], "propagate": True, "level": "NOTSET"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": _TEXT if text else _JSON},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"level": settings.log_level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": to_root,
            "gunicorn.access": {"handlers": [], "propagate": False, "level": "CRITICAL"},
        },
    }


def configure(settings: Settings) -> None:
    """Send this process's log to stderr in the chosen format and level."""
    logging.config.dictConfig(configuration(settings))
