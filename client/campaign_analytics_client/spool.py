"""The spool on disk: events that wait, in order, those that were refused, and what the sender says of itself.

Numbers are given in the order of commits and never again. Events leave from the front only, so those that wait are
all numbers from the first to the last.
"""

from __future__ import annotations

import zlib
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from campaign_analytics_client.database import Database
from campaign_analytics_client.errors import SpoolDamagedError, SpoolError, SpoolFullError
from campaign_analytics_client.rows import DAMAGED, Content, DeadLetter, Note, Refusal, Row

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Sequence

MAX_BYTES = 1024**3  # of the file, by default
_APPLICATION = 0x43414350  # marks the file as ours, in its header
_FORMAT = 1
_ROWS_A_STATEMENT = 200
_RESERVE = 2  # the sender may go beyond the limit by this factor, to keep why events were refused
_MAX_ERROR_CHARACTERS = 500
_LETTERS = "SELECT number, at, code, error, CAST(body AS BLOB) FROM dead"  # damage may have made anything of a body
_TABLES = (
    "CREATE TABLE event (number INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL, checksum INTEGER NOT NULL)",
    (
        "CREATE TABLE dead (number INTEGER PRIMARY KEY, at TEXT NOT NULL, code TEXT NOT NULL, error TEXT NOT NULL,"
        " body BLOB NOT NULL)"
    ),
    "CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)


class Spool:
    """A spool file, seen over one connection."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        workspace_id: int | None = None,
        max_bytes: int = MAX_BYTES,
        sender: bool = False,
    ) -> None:
        """Open the file, or create it where a workspace is named; raise SpoolError.

        A spool belongs to the workspace that it was made for. The sender's connection does not sync its commits,
        since what they undo is at worst sent again, and may grow the file further than others may.
        """
        self.path = Path(path)
        if workspace_id is None and not self.path.is_file():
            raise SpoolError(f"there is no spool {self.path}")
        self._database = Database(self.path, durable=not sender)
        try:
            self.workspace_id = self._prepare(workspace_id)
            with self._database.reading() as connection:
                page = connection.execute("PRAGMA page_size").fetchone()[0]
                pages = max(1, max_bytes * (_RESERVE if sender else 1) // page)
                connection.execute(f"PRAGMA max_page_count={pages}")
        except BaseException:
            self._database.close()
            raise

    def append(self, bodies: Sequence[bytes]) -> None:
        """Keep events at the end, all or none; when this returns they are on disk. Raise SpoolError."""
        try:
            with self._database.writing() as connection:
                _insert(connection, bodies)
                self._database.wrote(sum(map(len, bodies)))
        except SpoolFullError as error:
            content = self.content()
            raise SpoolFullError(
                f"{error}; {content.pending:,} events wait to be sent and {content.dead:,} are dead letters"
            ) from error

    def first(self, limit: int, max_bytes: int, after: int = 0) -> list[Row]:
        """Return the first events that wait, behind the number `after`.

        At most `limit` of them, and of at most so many bytes where it is not just one.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT number, body, checksum FROM event WHERE number > ? ORDER BY number LIMIT ?",
                (after, limit),
            ).fetchall()
        first: list[Row] = []
        size = 0
        for number, body, checksum in rows:
            row = _row(number, body, checksum)
            size += len(row.body)
            if first and size > max_bytes:
                break
            first.append(row)
        return first

    def settle(self, rows: Sequence[Row], refusals: Sequence[Refusal]) -> None:
        """Remove these first events: those that were refused become dead letters."""
        at = _now()
        with self._database.writing() as connection:
            for number, code, error in refusals:
                connection.execute(
                    "INSERT INTO dead SELECT number, ?, ?, ?, CAST(body AS BLOB) FROM event WHERE number = ?",
                    (at, code, error[:_MAX_ERROR_CHARACTERS], number),
                )
            connection.execute("DELETE FROM event WHERE number <= ?", (rows[-1].number,))
            self._database.wrote(sum(len(row.body) for row in rows))

    def last(self) -> int:
        """Return the number of the last event that was ever kept, 0 where there was none."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
        return int(row[0]) if row else 0

    def content(self) -> Content:
        """Return how much the spool holds."""
        with self._database.reading() as connection:
            first, last, dead = connection.execute(
                "SELECT (SELECT min(number) FROM event), (SELECT max(number) FROM event), (SELECT count(*) FROM dead)"
            ).fetchone()
        size = sum(
            file.stat().st_size for file in (self.path, self.path.with_name(self.path.name + "-wal")) if file.exists()
        )
        return Content(0 if first is None else last - first + 1, first, dead, size)

    def dead(self) -> list[DeadLetter]:
        """Return the dead letters in the order of the spool."""
        with self._database.reading() as connection:
            rows = connection.execute(f"{_LETTERS} ORDER BY number").fetchall()
        return [DeadLetter(*row) for row in rows]

    def revive(self, number: int, body: bytes | None = None) -> bool:
        """Put a dead letter at the end of those that wait, with another body where one is given.

        Returns whether it was there, and is not damaged or given another body; when this returns, the event is on disk
        in its new place.
        """
        with self._database.writing() as connection:
            row = connection.execute("SELECT body, code FROM dead WHERE number = ?", (number,)).fetchone()
            if row is None or (body is None and row[1] == DAMAGED):
                return False
            connection.execute("DELETE FROM dead WHERE number = ?", (number,))
            _insert(connection, [row[0] if body is None else body])
        return True

    def event(self, number: int) -> Row | None:
        """Return the event that waits under a number, None where there is none."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT body, checksum FROM event WHERE number = ?", (number,)).fetchone()
        return _row(number, *row) if row else None

    def letter(self, number: int) -> DeadLetter | None:
        """Return the dead letter with a number, None where there is none."""
        with self._database.reading() as connection:
            row = connection.execute(f"{_LETTERS} WHERE number = ?", (number,)).fetchone()
        return DeadLetter(*row) if row else None

    def bury(self, bodies: Sequence[bytes], letters: Sequence[DeadLetter]) -> None:
        """Keep what another spool held: events at the end, and dead letters under numbers before them."""
        with self._database.writing() as connection:
            for letter in letters:
                number = connection.execute(
                    "INSERT INTO event (body, checksum) VALUES (?, 0)", (letter.body,)
                ).lastrowid
                connection.execute("DELETE FROM event WHERE number = ?", (number,))
                connection.execute("INSERT INTO dead VALUES (?, ?, ?, ?, ?)", (number, *letter[1:]))
            _insert(connection, bodies)

    def drop(self, number: int) -> bool:
        """Remove a dead letter for ever; return whether it was there."""
        with self._database.writing() as connection:
            return connection.execute("DELETE FROM dead WHERE number = ?", (number,)).rowcount == 1

    def write_note(self, state: str, reason: str) -> None:
        """Write down what the sender does now, and why, for `note`."""
        with self._database.writing() as connection:
            for name, value in (("state", state), ("since", _now()), ("reason", reason)):
                connection.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))

    def note(self) -> Note | None:
        """Return what a sender last wrote down, None where none ever did."""
        with self._database.reading() as connection:
            notes = dict(connection.execute("SELECT name, value FROM note"))
        return Note(notes["state"], notes["since"], notes["reason"]) if "state" in notes else None

    def usable(self) -> None:
        """Raise ForkedError or ClosedError where the spool can't be used."""
        self._database.usable()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _prepare(self, workspace_id: int | None) -> int:
        """Create what a new file lacks, check that the file is ours, and return its workspace."""
        with self._database.writing() as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
            if empty and application == 0 and workspace_id is not None:
                for table in _TABLES:
                    connection.execute(table)
                connection.execute("INSERT INTO note VALUES ('workspace_id', ?)", (str(workspace_id),))
                connection.execute(f"PRAGMA application_id={_APPLICATION}")
                connection.execute(f"PRAGMA user_version={_FORMAT}")
                return workspace_id
            if application != _APPLICATION:
                raise SpoolDamagedError(f"{self.path} is a database, but no spool; it is left as it is")
            if version != _FORMAT:
                raise SpoolError(f"the spool {self.path} has format {version}, this package knows {_FORMAT}")
            kept = int(connection.execute("SELECT value FROM note WHERE name = 'workspace_id'").fetchone()[0])
        if workspace_id is not None and workspace_id != kept:
            raise SpoolError(f"the spool {self.path} belongs to workspace {kept}, not {workspace_id}")
        return kept


def _row(number: int, body: object, checksum: object) -> Row:
    """Return an event as it was read; damage may have made anything of it."""
    if not isinstance(body, bytes):
        return Row(number, str(body).encode(errors="replace"), intact=False)
    return Row(number, body, intact=zlib.crc32(body) == checksum)


def _insert(connection: sqlite3.Connection, bodies: Sequence[bytes]) -> None:
    """Insert many rows with one statement, which hands the interpreter over once and not for each row."""
    for start in range(0, len(bodies), _ROWS_A_STATEMENT):
        part = bodies[start : start + _ROWS_A_STATEMENT]
        values: list[bytes | int] = []
        for body in part:
            values += (body, zlib.crc32(body))
        places = ",".join(["(?,?)"] * len(part))
        connection.execute(f"INSERT INTO event (body, checksum) VALUES {places}", values)  # noqa: S608 (only places)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
