"""Forget a prospect: in every stored event, journey and rejection of a workspace the id gives way to a random token.

All of it in one transaction that keeps appends, projectors and the end of a replay of the workspace away, so that none
of them brings the id back: it is done as a whole, or not at all and can be begun again.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from psycopg.errors import UniqueViolation
from psycopg.sql import SQL

from domain.access import Access
from domain.forgetting import Forgetting
from domain.forgotten import new_token
from domain.recorder import Database, head_of
from domain.refusals import BusyError
from projections.building import generations
from projections.journeys import campaign, columns
from projections.metrics import FOLD_VERSION

_AT_ONCE = 5_000  # events that are read and written by one statement
_ATTEMPTS = 10  # each further one means that the workspace itself was changed meanwhile, say renamed

_WAIT_FOR_DISK = SQL("SET LOCAL synchronous_commit = on")
# In the order in which everybody takes both.
_LOCK_PROJECTION = SQL("""
SELECT generation, position, fold_version = %s AND lost_at IS NULL FROM projection
WHERE workspace_id = %s FOR NO KEY UPDATE
""")
_LOCK_HEAD = SQL("SELECT head FROM log_head WHERE workspace_id = %s FOR NO KEY UPDATE")
# Looks for the prospect in each campaign, of which there are few, since journeys are sorted by campaign.
_JOURNEYS = SQL("""
SELECT j.facts, j.details, c.about FROM campaign AS c CROSS JOIN LATERAL (
    SELECT facts, details FROM journey
    WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s AND campaign_id = c.campaign_id
        AND prospect_id = %(prospect_id)s
    OFFSET 0
) AS j
WHERE c.workspace_id = %(workspace_id)s AND c.generation = %(generation)s
""")
_SET_ASIDE = SQL("SELECT position FROM set_aside WHERE workspace_id = %s")
_AT = SQL("""
SELECT position, state, uuid_send(originator_id) FROM stored_events
WHERE workspace_id = %s AND position = ANY (%s::bigint[]) ORDER BY position
""")
_SCAN = SQL("""
SELECT position, state, uuid_send(originator_id) FROM stored_events
WHERE workspace_id = %s AND position > %s AND position(%s IN state) > 0 ORDER BY position LIMIT %s
""")
_REWRITE = SQL("""
UPDATE stored_events AS e SET state = n.state FROM unnest(%(positions)b::bigint[], %(states)b::bytea[])
    AS n (position, state)
WHERE e.workspace_id = %(workspace_id)s AND e.position = n.position
""")
# Those of replays that are under way, too: of these, what is not committed yet is swept as soon as they end.
_MOVE_JOURNEYS = SQL("""
UPDATE journey SET prospect_id = %(token)s
WHERE workspace_id = %(workspace_id)s AND campaign_id = ANY (%(campaigns)s::bigint[]) AND prospect_id = %(prospect_id)s
    AND generation = ANY (ARRAY(
        SELECT generation FROM projection WHERE workspace_id = %(workspace_id)s
        UNION SELECT generation FROM spare_generation WHERE workspace_id = %(workspace_id)s
    ))
""")
_SUPERSEDE = SQL("UPDATE spare_generation SET leased_until = '-infinity' WHERE workspace_id = %s")
_COUNT = SQL("UPDATE projection SET forgotten = forgotten + 1 WHERE workspace_id = %s")

_TEXTS = (
    ("rejected_event", "number", ("id", "source", "error")),
    ("set_aside", "position", ("fault", "reason")),
    ("projection", "workspace_id", ("stuck_reason",)),
)
_READ_TEXTS = {
    table: SQL("SELECT {columns} FROM {table} WHERE workspace_id = %s").format(
        columns=SQL(", ").join(map(SQL, (key, *texts))), table=SQL(table)
    )
    for table, key, texts in _TEXTS
}
_WRITE_TEXTS = {
    table: SQL("UPDATE {table} SET {texts} WHERE workspace_id = %s AND {key} = %s").format(
        table=SQL(table), texts=SQL(", ").join(SQL(f"{text} = %s") for text in texts), key=SQL(key)
    )
    for table, key, texts in _TEXTS
}


class Forgotten(NamedTuple):
    """The token in the place of the id, and in how many events; None and 0 where nothing was stored of the prospect."""

    token: str | None
    events: int


class _Row(NamedTuple):
    position: int
    state: bytes
    key: bytes


def forget(database: Database, users: Access, workspace_id: int, prospect_id: str, by: str) -> Forgotten:
    """Forget a prospect, and append to log 0 that it was done and `by` whom.

    `database` must not be inside a transaction: when this returns, it is on disk. Raises BusyError.
    """
    for _ in range(_ATTEMPTS):
        try:
            with database.transaction():
                forgotten = _forget(database, workspace_id, Forgetting(prospect_id, token := new_token()), token)
                if forgotten.token is not None:
                    users.note_forgotten(database, workspace_id, token, forgotten.events, by)
                return forgotten
        except UniqueViolation:
            continue
    raise BusyError("The workspace is being changed by somebody else all the time, please try again")


def _forget(database: Database, workspace_id: int, forgetting: Forgetting, token: str) -> Forgotten:
    database.execute(_WAIT_FOR_DISK)
    changed = 0
    if head_of(database, workspace_id):
        generations.begin(database, workspace_id)
        live = database.execute(_LOCK_PROJECTION, (FOLD_VERSION, workspace_id)).fetchone()
        database.execute(_LOCK_HEAD, (workspace_id,))
        assert live is not None  # it was begun
        changed = _rewrite_log(database, workspace_id, forgetting, token, live)
    texts = sum(_rewrite_texts(database, workspace_id, forgetting, table) for table in _READ_TEXTS)
    if not changed and not texts:
        return Forgotten(None, 0)
    database.execute(_SUPERSEDE, (workspace_id,))
    database.execute(_COUNT, (workspace_id,))
    return Forgotten(token, changed)


def _rewrite_log(database: Database, workspace_id: int, forgetting: Forgetting, token: str, live: Sequence[int]) -> int:
    """Change the prospect's events and journeys; return how many events were the prospect's."""
    generation, position, is_readable = live
    positions = _known_positions(database, workspace_id, generation, forgetting) if is_readable else None
    keys: set[bytes] = set()
    campaigns: set[int] = set()
    others: list[_Row] = []
    changed = 0
    for rows in _rows(database, workspace_id, forgetting, positions, position):
        theirs = [row for row in rows if forgetting.is_theirs(row.state)]
        keys.update(row.key for row in theirs)
        campaigns.update(each for row in theirs if (each := forgetting.campaign_of(row.state)) is not None)
        others += [row for row in rows if forgetting.retracted(row.state) is not None]
        changed += _rewrite(database, workspace_id, forgetting, theirs)
    _rewrite(database, workspace_id, forgetting, [row for row in others if forgetting.retracted(row.state) in keys])
    what = {"workspace_id": workspace_id, "prospect_id": forgetting.prospect_id, "token": token}
    database.execute(_MOVE_JOURNEYS, {**what, "campaigns": list(campaigns)})
    return changed


def _rewrite(database: Database, workspace_id: int, forgetting: Forgetting, rows: Sequence[_Row]) -> int:
    if rows:
        states = [forgetting.state(row.state, row.key) for row in rows]
        parameters = {"workspace_id": workspace_id, "positions": [row.position for row in rows], "states": states}
        database.execute(_REWRITE, parameters)
    return len(rows)


def _rows(
    database: Database, workspace_id: int, forgetting: Forgetting, positions: Sequence[int] | None, projected: int
) -> Iterator[list[_Row]]:
    """Yield the events at known positions, and those behind what is projected that have the id somewhere in them.

    Where no positions are known, all events are looked at.
    """
    known = positions or ()
    for first in range(0, len(known), _AT_ONCE):
        yield _read(database, _AT, workspace_id, known[first : first + _AT_ONCE])
    after = 0 if positions is None else projected
    while rows := _read(database, _SCAN, workspace_id, after, forgetting.stored, _AT_ONCE):
        yield rows
        after = rows[-1].position


def _read(database: Database, query: SQL, *parameters: object) -> list[_Row]:
    with database.cursor(binary=True) as cursor:
        return [_Row(*row) for row in cursor.execute(query, parameters)]


def _known_positions(
    database: Database, workspace_id: int, generation: int, forgetting: Forgetting
) -> Sequence[int] | None:
    """Return where the prospect's events are of those that are projected; None where a row of theirs is damaged.

    Among them are retractions without a prospect that name one of these events by mistake; and what is set aside.
    """
    what = {"workspace_id": workspace_id, "generation": generation, "prospect_id": forgetting.prospect_id}
    positions = {each for (each,) in database.execute(_SET_ASIDE, (workspace_id,))}
    with database.cursor(binary=True) as cursor:
        journeys = cursor.execute(_JOURNEYS, what).fetchall()
    try:
        events = columns.read([(facts, details) for facts, details, _ in journeys])
        keys = set(events.keys.tolist())
        for _, _, about in journeys:
            retractions = campaign.unpack(about).retractions
            positions |= {each.position for each in retractions if int(np.frombuffer(each.key, "<i8")[0]) in keys}
    except (msgspec.DecodeError, ValueError):
        return None
    return sorted(positions | set(events.positions.tolist()))


def _rewrite_texts(database: Database, workspace_id: int, forgetting: Forgetting, table: str) -> int:
    """Change the texts of a table that people read; return in how many rows."""
    changed = 0
    for key, *texts in database.execute(_READ_TEXTS[table], (workspace_id,)).fetchall():
        new = [forgetting.text(text) for text in texts]
        if new != texts:
            database.execute(_WRITE_TEXTS[table], (*new, workspace_id, key))
            changed += 1
    return changed
