"""Answers as CSV (RFC 4180), written so that no spreadsheet takes a text for a formula."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

# A spreadsheet may take text for a formula that begins so, also after white space (OWASP, "CSV Injection").
_RISKY = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")


class Table(NamedTuple):
    """An answer as CSV: the names of its columns, and its rows by these names."""

    columns: Sequence[str]
    rows: Callable[[Any], Iterable[Mapping[str, object]]]

    def written(self, body: object, *, bom: bool) -> bytes:
        """Return the body of an answer as CSV, with a byte order mark where one is asked for."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(self.columns)
        for row in self.rows(body):
            writer.writerow([_cell(row[column]) for column in self.columns])
        return text.getvalue().encode("utf-8-sig" if bom else "utf-8")


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _RISKY.match(value) else value
