"""Rebuild a workspace's read models from its log beside the live ones, and put them in their place at one stroke.

Readers see the old rows until that commit and the new ones after it, writers never wait, and a replay that is
interrupted anywhere leaves the old rows live; the next one deletes the rows that it had written.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

from psycopg.sql import SQL

from domain import ledger
from domain.recorder import Database, Pool, head_of
from projections import marks
from projections.building import generations, replay_by_parts, set_aside
from projections.building.batch import FoldError, sort
from projections.building.fold import fold
from projections.building.generations import ReadRows, SupersededError
from projections.building.replay_by_parts import Build, Workers
from projections.marks import START, Mark, WentBackError

NEARLY_THERE = 2_000  # events that the last step, for which the projector waits, may have to fold
CATCH_UP = 20_000  # events that are folded at once of those appended meanwhile
TOGETHER = 50_000  # events of small workspaces that are one task of a worker

_WORKSPACES = SQL("SELECT workspace_id, head FROM log_head WHERE workspace_id > 0 AND head > 0 ORDER BY workspace_id")
_LOCK = SQL("SELECT generation FROM projection WHERE workspace_id = %s FOR UPDATE")
Progress = Callable[[int], object]  # is called with how many more events are folded
_Connect = Callable[[], AbstractContextManager[Database]]


class Failure(NamedTuple):
    """A workspace that keeps its old rows, and the event that can't be folded."""

    workspace_id: int
    position: int
    reason: str


def workspaces(pool: Pool) -> list[tuple[int, int]]:
    """Return each workspace that has a log, with the log's head."""
    with pool.connection() as database:
        return [(workspace_id, head) for workspace_id, head in database.execute(_WORKSPACES)]


def require_room(heads: Iterable[tuple[int, int]]) -> None:
    """Raise NoRoomError where there is no room for a replay of these workspaces, given with their heads."""
    replay_by_parts.require_room(max((head for _, head in heads if head > NEARLY_THERE), default=0))


def replay_all(pool: Pool, heads: Iterable[tuple[int, int]], progress: Progress, workers: Workers) -> Iterator[Failure]:
    """Replay workspaces, pairs of id and head, and yield those that can't be; small ones many at a time.

    Runs in the first process and hands tasks to `workers`. Raises SupersededError.
    """
    small: list[list[tuple[int, int]]] = []
    large = []
    together = TOGETHER
    for workspace_id, head in heads:
        if head > NEARLY_THERE:
            large.append(workspace_id)
            continue
        if together >= TOGETHER:
            small.append([])
            together = 0
        small[-1].append((workspace_id, head))
        together += max(head, TOGETHER // 500)
    for events, failures in workers.map(_replay_group, [(workers.connect, group) for group in small]):
        progress(events)
        yield from failures
    for workspace_id in large:
        try:
            replay(pool, workspace_id, progress, workers)
        except FoldError as error:
            yield Failure(workspace_id, error.position, error.reason)


def replay(
    pool: Pool, workspace_id: int, progress: Progress, workers: Workers | None = None, *, taken_back: int | None = None
) -> int:
    """Rebuild a workspace's read models from its log; return the position that they include.

    With `taken_back` the event at that position is no longer set aside. Raises FoldError, the old rows still live,
    where an event can't be folded, SupersededError, and WentBackError.
    """
    with pool.connection() as database:
        generations.declare(database)
        if head_of(database, workspace_id) <= NEARLY_THERE:
            return _replay_at_once(database, workspace_id, progress, taken_back)
        aside = set_aside.positions(database, workspace_id)
        forgotten = marks.forgotten_in(database, workspace_id)
        with generations.spare_rows(database, workspace_id) as rows:
            build = Build(database, rows, aside - {taken_back}, progress)
            reached = build_rows(workers or Workers(pool.connection), build)
            with database.transaction():
                old_generation = _locked(database, workspace_id)
                if set_aside.positions(database, workspace_id) != aside:
                    raise SupersededError
                if marks.forgotten_in(database, workspace_id) != forgotten:
                    raise SupersededError
                reached = catch_up(build, reached, head_of(database, workspace_id))
                generations.switch(database, rows, old_generation, reached)
                if taken_back is not None:
                    set_aside.remove(database, workspace_id, taken_back)
    return reached.position


def _replay_group(work: tuple[_Connect, list[tuple[int, int]]]) -> tuple[int, list[Failure]]:
    """Replay small workspaces, in a worker process; return how many events they have, and which can't be replayed."""
    connect, group = work
    failures = []
    with connect() as database:
        generations.declare(database)
        for workspace_id, _ in group:
            try:
                _replay_at_once(database, workspace_id, lambda _: None)
            except FoldError as error:
                failures.append(Failure(workspace_id, error.position, error.reason))
    return sum(head for _, head in group), failures


def _replay_at_once(database: Database, workspace_id: int, progress: Progress, taken_back: int | None = None) -> int:
    """Rebuild a small workspace in one transaction, for which its projector waits."""
    rows = ReadRows(workspace_id, generations.new_generation())
    with database.transaction():
        database.execute(generations.NO_WAIT_FOR_DISK)
        old_generation = _locked(database, workspace_id)
        aside = set_aside.positions(database, workspace_id) - {taken_back}
        reached = marks.reach(database, workspace_id, START, head_of(database, workspace_id))
        log = ledger.read_plain(database, workspace_id, after=0, upto=reached.position, limit=reached.position)
        fold(database, rows, sort(log, aside), empty=True)
        generations.switch_at_once(database, rows, old_generation, reached)
        if taken_back is not None:
            set_aside.remove(database, workspace_id, taken_back)
    progress(reached.position)
    return reached.position


def _locked(database: Database, workspace_id: int) -> int:
    """Lock a workspace's projection, made here where there is none; return the live generation."""
    row = database.execute(_LOCK, (workspace_id,)).fetchone()
    if row is None:
        generations.begin(database, workspace_id)
        row = database.execute(_LOCK, (workspace_id,)).fetchone()
    assert row is not None  # it is never deleted
    return int(row[0])


def build_rows(workers: Workers, build: Build, upto: int | None = None) -> Mark:
    """Fold the log into the spare rows, with no lock held, until little of it is left; return how far that is."""
    database, workspace_id = build.database, build.rows.workspace_id
    reached = marks.reach(database, workspace_id, START, head_of(database, workspace_id) if upto is None else upto)
    replay_by_parts.rebuild(workers, build, reached.position)
    if upto is None:
        while (end := head_of(database, workspace_id)) - reached.position > NEARLY_THERE:
            reached = catch_up(build, reached, end)
    return reached


def catch_up(build: Build, reached: Mark, upto: int) -> Mark:
    """Fold what has come since, up to a position; raise WentBackError where what was folded is no longer the log's."""
    database, rows, aside, progress = build
    while reached.position < upto:
        end = marks.reach(database, rows.workspace_id, reached, min(upto, reached.position + CATCH_UP))
        if end == reached:
            raise WentBackError  # the log ends in front of its head
        generations.extend(database, rows, reached.position, upto)
        with database.transaction():
            database.execute(generations.NO_WAIT_FOR_DISK)
            generations.hold(database, rows)
            log = ledger.read_plain(
                database, rows.workspace_id, after=reached.position, upto=end.position, limit=CATCH_UP
            )
            fold(database, rows, sort(log, aside))
        progress(end.position - reached.position)
        reached = end
    return reached
