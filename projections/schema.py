"""Whether a program can work with a database: by the migrations that each of them knows."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from psycopg.errors import UndefinedTable

from domain.recorder import Database
from projections.pipeline import Pipeline
from projections.statements import Statement

# By way of JSON, since a table that an earlier version has made lacks the second column.
_APPLIED = b"SELECT version, (to_jsonb(m) ->> 'works_with')::integer FROM migration AS m"
_READ = Statement("schema", _APPLIED)

Applied = Mapping[
    int, int | None
]  # each migration, and the oldest newest one of a program that goes on working with it


class Schema(NamedTuple):
    """Why a program can't work with the database, if it can't, and whether the database is newer than the program."""

    fault: str | None = None
    newer: bool = False


def judge(applied: Applied, known: Collection[int]) -> Schema:
    """Compare the migrations that a database has with those that a program knows.

    A migration that the program does not know is no fault where it was declared to work with programs as old as this.
    """
    if set(known) - applied.keys():
        return Schema("the database is older than this version: run migrate")
    unknown = applied.keys() - set(known)
    newest = max(known)
    if any((oldest := applied[each]) is None or oldest > newest for each in unknown):
        return Schema("the database is newer", newer=True)
    return Schema(newer=bool(unknown))


def applied_to(database: Database) -> Applied:
    """Return the migrations that a database has."""
    try:
        return dict(database.execute(_APPLIED).fetchall())
    except UndefinedTable:
        return {}


async def applied_by(reads: Pipeline) -> Applied:
    """Return the same by a connection of the event loop; raises what that raises."""
    try:
        return dict(await reads.rows(_READ, {}))
    except UndefinedTable:
        return {}
