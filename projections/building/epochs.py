"""The epochs of logs: a log that went back in time is noticed, gets another epoch, and its read models are rebuilt.

It goes back where the database is restored from a backup, or where a standby takes over that lacks the log's end.
"""

import logging
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from psycopg import Error
from psycopg.errors import FeatureNotSupported, InsufficientPrivilege, ObjectNotInPrerequisiteState, UndefinedFunction
from psycopg.sql import SQL, Composed

from domain.citus import is_distributed
from domain.recorder import Database, Pool
from projections import marks
from projections.marks import Mark, mark_at

logger = logging.getLogger(__name__)

# What a projection says of its log is not so.
_LOST = SQL("""
p.lost_at IS NULL AND (
    p.position > coalesce((SELECT head FROM log_head AS h WHERE h.workspace_id = {workspace_id}), 0)
    OR p.mark <> {mark}
)
""")
_OF_EACH, _OF_ONE = SQL("p.workspace_id"), SQL("%(workspace_id)s")
_SUSPECTS = SQL("SELECT p.workspace_id FROM projection AS p WHERE {lost} ORDER BY p.workspace_id").format(
    lost=_LOST.format(workspace_id=_OF_EACH, mark=mark_at(_OF_EACH, SQL("p.mark_position")))
)
# A program of an older version has moved the position; or it is from before there were marks.
_UNMARKED = SQL("SELECT workspace_id FROM projection WHERE mark_position < position AND lost_at IS NULL")
_MARK = SQL("""
UPDATE projection AS p SET mark_position = position, mark = {mark}
WHERE p.workspace_id = %(workspace_id)s AND mark_position < position
""").format(mark=mark_at(_OF_ONE, SQL("p.position")))
_LOCK = SQL("SELECT FROM projection WHERE workspace_id = %s FOR UPDATE SKIP LOCKED")
_LOSE = SQL("""
UPDATE projection AS p SET lost_at = statement_timestamp()
WHERE p.workspace_id = %(workspace_id)s AND {lost} RETURNING p.position
""").format(lost=_LOST.format(workspace_id=_OF_ONE, mark=mark_at(_OF_ONE, SQL("p.mark_position"))))
# What was set aside was an event of the past that is gone, unless it is older than the decision.
_FORGET_SET_ASIDE = SQL("""
DELETE FROM set_aside AS s WHERE s.workspace_id = %(workspace_id)s AND NOT EXISTS (
    SELECT FROM stored_events AS e
    WHERE e.workspace_id = %(workspace_id)s AND e.position = s.position AND e.recorded_at <= s.at
)
RETURNING s.position, s.topic, s.reason
""")
_RENEW = SQL("""
UPDATE log_head SET epoch = %(epoch)s, epoch_since = statement_timestamp() WHERE workspace_id = %(workspace_id)s
""")
_RENEW_SINCE = SQL("{renew} AND (epoch_since IS NULL OR epoch_since < %(since)s)").format(renew=_RENEW)
_RENEW_ALL = SQL("UPDATE log_head SET epoch = %s, epoch_since = statement_timestamp() WHERE workspace_id > 0")
_GONE = SQL("""
SELECT s.workspace_id, s.position FROM unnest(%(ids)s::bigint[], %(positions)s::bigint[], %(marks)s::bigint[])
    AS s (workspace_id, position, mark)
WHERE s.mark <> {mark}
""").format(mark=mark_at(SQL("s.workspace_id"), SQL("s.position")))

_SYSTEM = SQL("SELECT system_identifier FROM pg_control_system()")
_TIMELINE = SQL("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)")
_DATABASE = SQL("SELECT oid FROM pg_database WHERE datname = current_database()")
_IDENTITY = SQL("SELECT system_identifier, timeline, database FROM database_identity")
_LOCK_IDENTITY = SQL("{identity} FOR UPDATE").format(identity=_IDENTITY)
_IDENTIFY = SQL("""
INSERT INTO database_identity (system_identifier, timeline, database) VALUES (%s, %s, %s)
ON CONFLICT (one) DO UPDATE SET system_identifier = excluded.system_identifier, timeline = excluded.timeline,
    database = excluded.database
""")
_UNAVAILABLE = (InsufficientPrivilege, FeatureNotSupported, ObjectNotInPrerequisiteState, UndefinedFunction)


class Identity(NamedTuple):
    """Which database this is; None is what the server does not tell."""

    system_identifier: int | None
    timeline: str | None
    database: int

    def differs(self, other: "Identity | None") -> bool:
        """Return whether it is another one than what was known before, as far as both are known."""
        return other is None or any(
            mine != its for mine, its in zip(self, other, strict=True) if None not in (mine, its)
        )


class Memory:
    """What this process has projected last of each log, by which it notices that a whole database went back."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._last: dict[int, tuple[Mark, object]] = {}

    def keep(self, workspace_id: int, mark: Mark, at: object) -> None:
        """Remember the last event projected, and the database's time."""
        self._last[workspace_id] = (mark, at)

    def compare(self, database: Database, workspace_id: int | None = None) -> None:
        """Give each log (or one) that no longer has what is remembered of it another epoch, unless it has had since."""
        last = self._last if workspace_id is None else {workspace_id: self._last[workspace_id]}
        for each, position in _gone(database, {each: mark for each, (mark, _) in last.items()}):
            _, since = self._last.pop(each)
            renewal = {"workspace_id": each, "epoch": new_epoch(), "since": since}
            if database.execute(_RENEW_SINCE, renewal).rowcount:
                logger.error("the log of workspace %s went back before position %s: it has a new epoch", each, position)

    def workspaces(self) -> set[int]:
        """Return the workspaces of which something is remembered."""
        return set(self._last)

    def knows(self, workspace_id: int, mark: Mark) -> bool:
        """Return whether nothing else is remembered of a log than this."""
        return workspace_id not in self._last or self._last[workspace_id][0] == mark


def _gone(database: Database, last: Mapping[int, Mark]) -> list[tuple[int, int]]:
    """Return the workspaces whose logs no longer have these marks, with the positions."""
    if not is_distributed(database):
        positions, marked = [each.position for each in last.values()], [each.mark for each in last.values()]
        return database.execute(_GONE, {"ids": list(last), "positions": positions, "marks": marked}).fetchall()
    gone = []
    for workspace_id, reached in last.items():
        try:
            if marks.mark_of(database, workspace_id, reached.position) != reached.mark:
                gone.append((workspace_id, reached.position))
        except Error as error:  # its node is away; it is compared again before it is projected
            if database.broken:
                raise
            logger.warning("the log of workspace %s can't be compared: %s", workspace_id, error)
    return gone


def new_epoch() -> int:
    """Return a random number that names an epoch: positive, and it fits a bigint."""
    return secrets.randbits(63) or 1


def notice(pool: Pool) -> None:
    """Give all logs another epoch where this is another database; mark projections that are not of their logs."""
    with pool.connection() as database:
        compare_identity(database)
        suspects = {workspace_id for (workspace_id,) in database.execute(_SUSPECTS)}
        unmarked = {workspace_id for (workspace_id,) in database.execute(_UNMARKED)}
        for workspace_id in sorted(suspects | unmarked):
            with database.transaction():
                locked = database.execute(_LOCK, (workspace_id,)).rowcount  # else it is projected, which looks too
                if locked and not lose(database, workspace_id):
                    database.execute(_MARK, {"workspace_id": workspace_id})


def lose(database: Database, workspace_id: int) -> bool:
    """Mark a projection that is not of its log as lost, so that it is rebuilt, and give the log another epoch.

    Takes a transaction that has locked the projection, and returns whether it is so.
    """
    lost = database.execute(_LOSE, {"workspace_id": workspace_id}).fetchone()
    if lost is None:
        return False
    database.execute(_RENEW, {"workspace_id": workspace_id, "epoch": new_epoch()})
    logger.error(
        "the log of workspace %s went back: it no longer has what was projected up to position %s; it has a new epoch,"
        " and its read models are rebuilt",
        workspace_id,
        lost[0],
    )
    for position, topic, reason in database.execute(_FORGET_SET_ASIDE, {"workspace_id": workspace_id}).fetchall():
        logger.warning(
            "position %s of workspace %s is no longer set aside: %s went with the log's end (%s)",
            position,
            workspace_id,
            topic,
            reason,
        )
    return True


def compare_identity(database: Database) -> None:
    """Give all logs another epoch where the database is another one than that in which they were begun.

    A copy, a restore and a fail-over are other databases: what their logs lack nobody can know.
    """
    identity = _identity(database)
    if not identity.differs(_known(database, _IDENTITY)):
        return
    with database.transaction():
        known = _known(database, _LOCK_IDENTITY)
        if not identity.differs(known):
            return  # somebody else has seen it first
        database.execute(_IDENTIFY, identity)
        logs = database.execute(_RENEW_ALL, (new_epoch(),)).rowcount
    if logs:
        logger.warning(
            "this database is a copy, or was restored or taken over (%s, was %s): %s logs have a new epoch",
            *(identity, known, logs),
        )


def _known(database: Database, query: SQL | Composed) -> Identity | None:
    row = database.execute(query).fetchone()
    return None if row is None else Identity(*row)


def _identity(database: Database) -> Identity:
    [(oid,)] = database.execute(_DATABASE).fetchall()
    return Identity(_one_value(database, _SYSTEM), _one_value(database, _TIMELINE), oid)


def _one_value(database: Database, query: SQL | Composed) -> Any:  # noqa: ANN401 (a column)
    """Return the one value of a query; None where the server does not provide it."""
    try:
        with database.transaction():
            [(value,)] = database.execute(query).fetchall()
    except _UNAVAILABLE:
        return None
    return value
