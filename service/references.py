"""Secrets by reference: a hook's row names an environment variable or a file, which contains the secret."""

from collections.abc import Mapping
from pathlib import Path

_MOST_BYTES = 64 * 1024


def secret_of(reference: str, environment: Mapping[str, str]) -> str | None:
    """Return the secret that `env:NAME` or `file:/path` names, without blanks around it; None where it can't be read.

    A file is read each time, so that another secret counts at once.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        return (environment.get(name) or "").strip() or None
    try:
        with Path(name).open("rb") as file:
            return file.read(_MOST_BYTES).decode().strip() or None
    except (OSError, UnicodeDecodeError):
        return None
