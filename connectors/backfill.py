"""Reads what a tool's API lists of the past, saved to a file, as the same events that its hook posts."""

from collections.abc import Iterator

from connectors.connection import Connection
from connectors.payload import decoded
from connectors.reading import find
from connectors.table import Export, Provider
from connectors.translation import Translation, translate_payloads

NO_EXPORT = "has no export of which the format is known"


class ExportError(Exception):
    """The file can't be read as an export of this provider; the text says why."""


def backfill(provider: Provider, file: bytes, connection: Connection) -> Translation:
    """Return the events of an export: JSON as the API answers it, one page or one page a line.

    The events are the same as those of the hook, with the same ids. What carries no time is ignored: nobody received
    it. Raises ExportError where nothing can be read at all: no export known, no JSON, no tenant to make a source of.
    """
    if provider.export is None:
        raise ExportError(f"{provider.name} {NO_EXPORT}")
    rows = [row for page in _pages(file) for row in _rows(provider.export, page)]
    payloads = [row for row in rows if isinstance(row, dict)]  # a listed delivery may lack its payload
    if provider.tenant and not connection.tenant and not all(find(row, provider.tenant) for row in payloads):
        raise ExportError(f"{provider.tenant}: the export doesn't name it, and the hook's events carry it: hand it in")
    return translate_payloads(provider, rows, connection, None)


def _pages(file: bytes) -> list[object]:
    try:
        return [decoded(file)]
    except ValueError:
        lines = [line for line in file.splitlines() if line.strip()]
    try:
        if lines:
            return [decoded(line) for line in lines]
    except ValueError:
        pass
    raise ExportError("expected JSON, or one JSON value a line")


def _rows(export: Export, page: object) -> Iterator[object]:
    rows = page if isinstance(page, list) else find(page, export.rows)
    for row in rows if isinstance(rows, list) else [page]:
        yield find(row, export.payload) if export.payload else row
