"""Records the statements that the service's connections send, as libpq traces them on the wire."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.pq import Trace

from service.connection import Connection

_SENT = re.compile(r'^F\t\d+\t(?:Parse\t "[^"]*" |Query\t )"(.*?)"(?: \d+)*\n(?=[FB]\t|\Z)', re.MULTILINE | re.DOTALL)


class Recording:
    """The statements that were sent so far."""

    def __init__(self, file: Path) -> None:
        """Take the file that libpq writes to."""
        self._file = file

    @property
    def statements(self) -> list[str]:
        """Return each statement once, as it was sent, with `$1` for a parameter."""
        return list(dict.fromkeys(_SENT.findall(self._file.read_text(encoding="utf-8", errors="replace"))))


@contextmanager
def recording(file: Path) -> Iterator[Recording]:
    """Record what is sent by connections of the service that are opened meanwhile."""
    opened: list[psycopg.Connection[Any]] = []
    connect = psycopg.Connection.connect.__func__  # type: ignore[attr-defined]
    with file.open("wb") as trace, pytest.MonkeyPatch.context() as patch:

        def traced(cls: type[psycopg.Connection[Any]], *arguments: Any, **named: Any) -> psycopg.Connection[Any]:
            connection: psycopg.Connection[Any] = connect(cls, *arguments, **named)
            if issubclass(cls, Connection):
                connection.pgconn.trace(trace.fileno())
                connection.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
                opened.append(connection)
            return connection

        patch.setattr(psycopg.Connection, "connect", classmethod(traced))
        try:
            yield Recording(file)
        finally:
            for each in opened:
                if not each.closed:
                    each.pgconn.untrace()
