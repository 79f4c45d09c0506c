"""What tells two pasts of a log apart: the mark of an event is made of its key and of when it was recorded.

A log only grows, so two pasts with the same event at a position are alike up to there. The same event may be sent again
after a restore and come to the same position behind other ones; but it is not recorded at the same microsecond.
"""

from typing import NamedTuple

from psycopg.sql import SQL, Composable, Composed, Literal

from domain.citus import Forms
from domain.recorder import Database


class Mark(NamedTuple):
    """A position of a log and the mark of its event; where there is no event, the mark is 0."""

    position: int
    mark: int


START = Mark(0, 0)


class WentBackError(Exception):
    """The log no longer has what was read of it: nothing was changed, and it can be begun again."""

    def __str__(self) -> str:
        """Say so."""
        return str(self.__doc__)


# The mark of a row of `stored_events AS e`. PostgreSQL can't change how it hashes these types from version to version:
# hash indexes depend on it.
MARK = SQL("hash_record_extended(ROW(e.originator_id, e.recorded_at), 0) & {most}").format(most=Literal(2**63 - 1))


def mark_at(workspace_id: Composable, position: Composable) -> Composed:
    """Return the expression of the mark at a position of a log."""
    return SQL(
        "coalesce((SELECT {mark} FROM stored_events AS e"
        " WHERE e.workspace_id = {workspace_id} AND e.position = {position}), 0)"
    ).format(mark=MARK, workspace_id=workspace_id, position=position)


# The same as a statement of one row.
_AT = SQL("""
SELECT coalesce(max({mark}), 0) AS mark FROM stored_events AS e
WHERE e.workspace_id = %(workspace_id)s AND e.position = %(position)s
""").format(mark=MARK)
# How often something of the events was changed after all, because a prospect was forgotten; see `forgotten_in`.
_FORGOTTEN = SQL("coalesce((SELECT forgotten FROM projection WHERE workspace_id = %(workspace_id)s), 0)")
_COUNT_FORGOTTEN = SQL("""
SELECT coalesce(max(forgotten), 0) AS forgotten FROM projection WHERE workspace_id = %(workspace_id)s
""")
_SEEN_AT = SQL("SELECT {mark} # {forgotten}").format(
    mark=mark_at(SQL("%(workspace_id)s"), SQL("%(position)s")), forgotten=_FORGOTTEN
)
_SEEN_AT_ON_NODE = SQL("SELECT m.mark # f.forgotten FROM ({mark}) AS m CROSS JOIN ({forgotten}) AS f").format(
    mark=_AT, forgotten=_COUNT_FORGOTTEN
)
_SEEN_AT_FORMS = Forms(_SEEN_AT.as_bytes(), _SEEN_AT_ON_NODE.as_bytes())
_REACH = SQL("""
SELECT {before}, e.position, {mark} FROM (VALUES (1)) AS one (row)
LEFT JOIN LATERAL (
    SELECT position, originator_id, recorded_at FROM stored_events
    WHERE workspace_id = %(workspace_id)s AND position <= %(upto)s ORDER BY position DESC LIMIT 1
) AS e ON true
""").format(before=mark_at(SQL("%(workspace_id)s"), SQL("%(position)s")), mark=MARK)
_REACH_ON_NODE = SQL("""
SELECT b.mark, e.position, e.mark FROM ({before}) AS b
LEFT JOIN (
    SELECT position, {mark} AS mark FROM stored_events AS e
    WHERE workspace_id = %(workspace_id)s AND position <= %(upto)s ORDER BY position DESC LIMIT 1
) AS e ON true
""").format(before=_AT, mark=MARK)
_REACH_FORMS = Forms(_REACH.as_bytes(), _REACH_ON_NODE.as_bytes())


def forgotten_in(database: Database, workspace_id: int) -> int:
    """Return how many prospects were forgotten: what was read of the log before it rose must not be used."""
    [(forgotten,)] = database.execute(_COUNT_FORGOTTEN, {"workspace_id": workspace_id}).fetchall()
    return int(forgotten)


def mark_of(database: Database, workspace_id: int, position: int) -> int:
    """Return the mark at a position of a log."""
    [(mark,)] = database.execute(_AT, {"workspace_id": workspace_id, "position": position}).fetchall()
    return int(mark)


def at(database: Database, workspace_id: int, position: int) -> int:
    """Return what tells apart what readers may be shown of a log up to a position: the mark, and who was forgotten."""
    parameters = {"workspace_id": workspace_id, "position": position}
    [(mark,)] = database.execute(_SEEN_AT_FORMS.of(database), parameters).fetchall()
    return int(mark)


def reach(database: Database, workspace_id: int, reached: Mark, upto: int) -> Mark:
    """Return the mark of the last event up to a position, before it and those in front of it are read.

    Where it is still the log's after the reading, all that was read is of the same past. Raises WentBackError where
    the log no longer has what was `reached` before.
    """
    parameters = {"workspace_id": workspace_id, "position": reached.position, "upto": upto}
    [(before, position, mark)] = database.execute(_REACH_FORMS.of(database), parameters).fetchall()
    if before != reached.mark:
        raise WentBackError
    return START if position is None else Mark(position, mark)
