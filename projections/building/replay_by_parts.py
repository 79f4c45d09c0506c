"""Fold a log of any length into new rows: sorted by journey on disk first, which bounds the memory.

Three steps. Chunks of the log are read, and their events written to files in parts, by a hash of the journey. Then
each part, which holds whole journeys, is folded by itself, and what it adds to the campaigns' days is written to files
in parts again, by campaign and day. Then the days of each part are added up and written. `sort_chunk`, `fold_part` and
`sum_part` run in worker processes, where there are several, so that cores share one log; `rebuild` runs in the first.
"""

import fcntl
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgspec
import numpy as np

from domain import ledger
from domain.recorder import Database
from projections.building import campaign_rows, day_rows, generations
from projections.building.batch import EventsInLogOrder, JourneyKey, gather
from projections.building.campaign_rows import CampaignRow
from projections.building.fold import copy_journeys
from projections.building.generations import ReadRows
from projections.journeys import campaign, quarter_hours
from projections.journeys.campaign import History
from projections.journeys.columns import PackedEvents
from projections.journeys.groups import lengths_of, offsets_of
from projections.journeys.quarter_hours import QUARTERS_A_DAY

EVENTS_A_CHUNK = 50_000  # read at once by one worker; bounds its memory in the first step
EVENTS_A_PART = 100_000  # about so many are folded at once by one worker; bounds its memory in the second
_PREFIX = "campaign-analytics-replay-"
BYTES_AN_EVENT = 90  # of temporary files; 75 were measured before each had a key of 10
_LOCK = "lock"
_BITS = 0xFFFFFFFF

_Piece = tuple[list[JourneyKey], bytes, list[bytes]]  # the journey of each event, the packed events, their details
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Piece).decode
# A sum of a quarter hour on disk.
_CELL = np.dtype([("campaign_id", "<i8"), ("quarter", "<i4"), ("place", "u1"), ("value", "<i8")])


class NoRoomError(Exception):
    """There is no room for the temporary files of a replay; nothing was changed."""


class Workers(NamedTuple):
    """What does the work: how a worker connects, and the builtin `map` or that of other processes."""

    connect: Callable[[], AbstractContextManager[Database]]
    map: Callable[..., Iterable[Any]] = map


class Build(NamedTuple):
    """Rows that are being built, the positions that are set aside, and what to call with the number of events done."""

    database: Database
    rows: ReadRows
    aside: frozenset[int | None]
    progress: Callable[[int], object]


class Chunk(NamedTuple):
    """A stretch of the log, behind position `after` up to and with `upto`, whose events go to a file, by parts."""

    connect: Callable[[], AbstractContextManager[Database]]
    workspace_id: int
    after: int
    upto: int
    aside: frozenset[int | None]
    parts: int
    file: Path


class FileInParts(NamedTuple):
    """A file of several parts, and the offsets at which they begin; the last one is the file's length."""

    file: Path
    offsets: list[int]

    def part(self, number: int) -> "Piece":
        """Return one of the parts."""
        return Piece(self.file, self.offsets[number], self.offsets[number + 1])


class Piece(NamedTuple):
    """A piece of a file, from byte `start` up to `end`."""

    file: Path
    start: int
    end: int

    def read(self) -> bytes:
        """Return its bytes."""
        with self.file.open("rb") as file:
            file.seek(self.start)
            return file.read(self.end - self.start)


class SortedChunk(NamedTuple):
    """A chunk's events by parts, what it holds about campaigns themselves, and the number of its positions."""

    events: FileInParts
    campaigns: dict[int, History]
    positions: int


class Part(NamedTuple):
    """What is to be written as new rows: the pieces of files that hold it."""

    connect: Callable[[], AbstractContextManager[Database]]
    rows: ReadRows
    pieces: list[Piece]


class JourneysPart(NamedTuple):
    """A part that holds whole journeys; what they add to quarter hours goes to a file, in so many parts."""

    part: Part
    parts: int
    file: Path


class FoldedPart(NamedTuple):
    """What journeys add: to the quarter hours, in a file, and to each campaign's row."""

    cells: FileInParts
    campaigns: dict[int, CampaignRow]


def rebuild(workers: Workers, build: Build, upto: int) -> None:
    """Fold the log up to and with a position into rows of which there are none yet.

    Progress counts each event half in either of the first two steps. Raises FoldError for the first event that can't
    be folded, and SupersededError.
    """
    database, rows, aside, progress = build
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        generations.extend(database, rows, done, upto)
        progress(more)

    parts = -(-upto // EVENTS_A_PART)
    added: dict[int, CampaignRow] = defaultdict(CampaignRow)
    histories: dict[int, History] = defaultdict(History)
    require_room(upto)
    with _directory() as directory:
        chunks = [
            Chunk(
                workers.connect,
                rows.workspace_id,
                after,
                min(after + EVENTS_A_CHUNK, upto),
                aside,
                parts,
                directory / str(after),
            )
            for after in range(0, upto, EVENTS_A_CHUNK)
        ]
        sorted_events: list[FileInParts] = []
        for chunk in workers.map(sort_chunk, chunks):
            sorted_events.append(chunk.events)
            advance(chunk.positions // 2)
            for campaign_id, history in chunk.campaigns.items():
                histories[campaign_id] = campaign.merged(histories[campaign_id], history)

        def parts_of(files: Sequence[FileInParts]) -> list[Part]:
            return [Part(workers.connect, rows, [each.part(number) for each in files]) for number in range(parts)]

        journeys = [
            JourneysPart(part, parts, directory / f"cells-{number}")
            for number, part in enumerate(parts_of(sorted_events))
        ]
        rest = upto - done
        cells: list[FileInParts] = []
        for number, folded in enumerate(workers.map(fold_part, journeys)):
            cells.append(folded.cells)
            advance(rest * (number + 1) // parts - rest * number // parts)
            for campaign_id, more in folded.campaigns.items():
                added[campaign_id] = added[campaign_id].plus(more)
        for _ in workers.map(sum_part, parts_of(cells)):
            advance(0)
    with database.transaction():
        generations.hold(database, rows)
        campaign_rows.write(database, rows, added, histories, {})


def sort_chunk(chunk: Chunk) -> SortedChunk:
    """Write a chunk's events to its file, by parts. Raises FoldError for the first that can't be folded.

    Runs in a worker process.
    """
    with chunk.connect() as database, database.transaction():
        log = ledger.scan(database, chunk.workspace_id, after=chunk.after, upto=chunk.upto)
        batch = gather(log, chunk.aside)
    keys, journeys, events, details = batch.events
    parts = np.array([crc32(name.encode(), campaign_id & _BITS) % chunk.parts for campaign_id, name in keys], np.int64)
    parts = parts[np.array(journeys, np.int64)]
    order = np.argsort(parts, kind="stable")
    bounds = np.searchsorted(parts[order], np.arange(chunk.parts + 1)).tolist()
    written = []
    for start, end in pairwise(bounds):
        chosen = order[start:end].tolist()
        names = [keys[journeys[event]] for event in chosen]
        written.append(_encode((names, events[order[start:end]].stored(), [details[event] for event in chosen])))
    return SortedChunk(_write(chunk.file, written), batch.campaigns, chunk.upto - chunk.after)


def fold_part(part: JourneysPart) -> FoldedPart:
    """Write a part's journeys, and to a file what they add to quarter hours. Raises SupersededError.

    Runs in a worker process.
    """
    (connect, rows, pieces), number_of_parts, file = part
    indices: dict[JourneyKey, int] = {}
    journeys: list[int] = []
    packed: list[bytes] = []
    details: list[bytes] = []
    for piece in pieces:
        names, more_packed, more_details = _decode(piece.read())
        journeys += [indices.setdefault(key, len(indices)) for key in names]
        packed.append(more_packed)
        details += more_details
    events = EventsInLogOrder(list(indices), journeys, PackedEvents.read(packed), details)
    with connect() as database, database.transaction():
        database.execute(generations.NO_WAIT_FOR_DISK)
        generations.hold(database, rows)
        added = copy_journeys(database, rows, events.by_journey())
    written = np.empty(added.cells.keys.size, _CELL)
    written["campaign_id"] = np.array(added.campaign_ids, np.int64)[added.cells.owners]
    written["quarter"], written["place"] = added.cells.quarters, added.cells.places
    written["value"] = added.cells.values
    parts = (added.cells.quarters // QUARTERS_A_DAY + written["campaign_id"]) % number_of_parts
    cells_of_parts = [written[parts == number].tobytes() for number in range(number_of_parts)]
    return FoldedPart(_write(file, cells_of_parts), added.campaigns())


def sum_part(part: Part) -> None:
    """Add up a part's quarter hours, and write their days. Raises SupersededError.

    Runs in a worker process.
    """
    cells = np.frombuffer(b"".join([piece.read() for piece in part.pieces]), _CELL)
    campaign_ids, owners = np.unique(cells["campaign_id"], return_inverse=True)
    quarters, places = cells["quarter"].astype(np.int64), cells["place"].astype(np.int64)
    days = quarter_hours.packed(quarter_hours.summed([quarter_hours.cells(owners, quarters, places, cells["value"])]))
    with part.connect() as database, database.transaction():
        database.execute(generations.NO_WAIT_FOR_DISK)
        generations.hold(database, part.rows)
        day_rows.copy(database, *part.rows, campaign_ids.tolist(), days)


def _write(path: Path, parts: Sequence[bytes]) -> FileInParts:
    with path.open("wb") as file:
        file.writelines(parts)
    return FileInParts(path, offsets_of(lengths_of(parts)).tolist())


def require_room(events: int) -> None:
    """Raise NoRoomError where the directory for temporary files has no room for a replay of so many events."""
    place = tempfile.gettempdir()
    needed, free = events * BYTES_AN_EVENT, shutil.disk_usage(place).free
    if needed > free:
        raise NoRoomError(
            f"a replay of {events:,} events needs {needed / 1e6:,.1f} MB in {place}, where {free / 1e6:,.1f} MB are"
            " free: make room, or set TMPDIR to another directory"
        )


@contextmanager
def _directory() -> Iterator[Path]:
    """Lend a directory that is deleted afterwards; where this process dies first, by the next replay."""
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{_PREFIX}*/{_LOCK}"):
        _delete_if_left(left)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place) as name:
        directory = Path(name)
        with (directory / "lock.new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (directory / "lock.new").rename(directory / _LOCK)  # seen by others only once it is held
            yield directory


def _delete_if_left(lock: Path) -> None:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent)
    except (BlockingIOError, FileNotFoundError, PermissionError):
        return  # in use, deleted by somebody else, or somebody else's
