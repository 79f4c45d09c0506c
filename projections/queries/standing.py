"""How far the asked workspaces are projected: the columns that decide what an answer is."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from psycopg.sql import SQL, Composed, Literal

from domain.access_log import ACCESS_LOG
from domain.citus import Here, forms
from domain.recorder import Database
from projections.metrics import FOLD_VERSION
from projections.pipeline import Pipeline
from projections.queries.caller import CALLER, SEEN, Asked, Credentials, Sealed, rows_of
from projections.statements import Statement

# What is read of a workspace `s` and the tables that it stands in.
STANDS = SQL("""
    s.workspace_id, coalesce(h.head, 0) AS head, coalesce(p.generation, 0) AS generation,
    coalesce(p.position, 0) AS position, coalesce(p.fold_version, {version}) AS fold_version,
    coalesce(h.epoch, 0) AS epoch, coalesce(p.mark # p.forgotten, 0) AS mark,
    p.lost_at IS NOT NULL OR coalesce(p.position > coalesce(h.head, 0), false) AS lost
""").format(version=Literal(FOLD_VERSION))
_JOINED = SQL("""
    LEFT JOIN log_head AS h ON h.workspace_id = s.workspace_id {h}
    LEFT JOIN projection AS p ON p.workspace_id = s.workspace_id {p}
""")
_ASKED = SQL("""
{seen}, asked AS (
    SELECT {stands} FROM seen AS s {joined}
)
""")


def joined(here: Here) -> Composed:
    """Return the tables that a workspace `s` stands in."""
    return _JOINED.format(h=here("h"), p=here("p"))


def asked_by_caller(here: Here) -> Composed:
    """Return `asked`, the workspaces that the caller asks for and may see, with their standing; see `SEEN`."""
    return _ASKED.format(seen=SEEN, stands=STANDS, joined=joined(here))


STANDING = SQL("a.workspace_id, a.epoch, a.generation, a.position, a.mark, a.head, a.lost, a.fold_version")
# Every statement that answers from read models begins with these columns, and then come its own.
COLUMNS = SQL("{caller}, {standing}").format(caller=CALLER, standing=STANDING)
OWN = 12  # the place of the first of its own columns
_LOOK = forms(
    lambda here: SQL(
        "{asked} SELECT {columns} FROM caller AS c LEFT JOIN asked AS a ON true ORDER BY a.workspace_id"
    ).format(asked=asked_by_caller(here), columns=COLUMNS)
)
# Of workspaces, whoever asks, and how far the log of access goes; one row where no workspace is named.
_STANDINGS = Statement(
    "standings",
    SQL("""
    SELECT l.epoch, l.head, l.xmin::text::bigint, {standing}
    FROM (VALUES (1)) AS one
    LEFT JOIN log_head AS l ON l.workspace_id = {access_log}
    LEFT JOIN (
        SELECT {stands} FROM unnest(%(workspace_ids)s::bigint[]) AS s (workspace_id) {joined}
    ) AS a ON true
    """)
    .format(standing=STANDING, stands=STANDS, access_log=Literal(ACCESS_LOG), joined=joined(lambda _: SQL("")))
    .as_bytes(),
)


class State(NamedTuple):
    """What decides what the read models of a workspace are: alike are those of the same state.

    The mark is that of the event at the position, so that two pasts of a log share no state; it is another one after
    a prospect was forgotten.
    """

    workspace_id: int
    epoch: int
    generation: int
    position: int
    mark: int


class Standing(NamedTuple):
    """How far a workspace is projected, and by which version of the fold.

    `lost` is true while the read models are of a past that the log no longer has, until they are rebuilt.
    """

    workspace_id: int
    epoch: int
    generation: int
    position: int
    mark: int
    head: int
    lost: bool
    fold_version: int

    @property
    def state(self) -> State:
        """Return what decides what its read models are."""
        return State(self.workspace_id, self.epoch, self.generation, self.position, self.mark)


def standing_of(row: Sequence[Any]) -> Standing | None:
    """Return the standing that a row has behind its caller; None where the caller sees no asked workspace."""
    return None if row[4] is None else Standing(*row[4:OWN])


def look(database: Database, credentials: Credentials, asked: Asked) -> Sealed[list[Standing]]:
    """Return how far the asked workspaces are projected, by one small statement."""
    return sealed_standings(rows_of(database, _LOOK, credentials, asked, {}), asked)


def sealed_standings(rows: Sequence[Sequence[Any]], asked: Asked) -> Sealed[list[Standing]]:
    """Return the standings of rows; of all workspaces, which may be none, or of at least one."""
    standings = dict.fromkeys(each for row in rows if (each := standing_of(row)) is not None)
    return Sealed(rows[0] if rows else None, list(standings) if standings or asked.every else None)


async def ask_standings(pipeline: Pipeline, workspace_ids: list[int]) -> tuple[Sequence[Any], list[Standing]]:
    """Return how far the log of access goes, and how far these workspaces are projected, of one snapshot.

    The first is its epoch and head, and which transaction has written them; each is None without such a log.

    Raises what `Pipeline.rows` raises.
    """
    rows = await pipeline.rows(_STANDINGS, {"workspace_ids": f"{{{','.join(map(str, workspace_ids))}}}"})
    return rows[0][:3], [Standing(*row[3:]) for row in rows if row[3] is not None]


def are_no_older(found: Sequence[Standing], known: Sequence[Standing], mark_at: Callable[[int, int], int]) -> bool:
    """Return whether the read models found in a copy of the database are those that are known, or later ones.

    `mark_at` takes a workspace and a position, and returns the mark there of the database itself: a copy may go on
    with another past of a log.
    """
    return len(found) == len(known) and all(
        copy.state == own.state
        or (
            copy[:3] == own[:3]  # workspace, epoch and generation
            and copy.position > own.position
            and not copy.lost
            and copy.mark == mark_at(copy.workspace_id, copy.position)
        )
        for copy, own in zip(found, known, strict=True)
    )
