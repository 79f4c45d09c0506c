"""Fold a log of any length into new rows: sorted by journey on disk first, which bounds the memory.

First chunks of the log are read, and their facts written to files by the part that their journey's hash gives; then
each part, which holds whole journeys, is folded by itself, and what it adds to the campaigns' days is written to files
by their hash; then the parts of these are added up. All steps are calls that other processes can make, so that several
cores share one log.
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
from projections.building import day_rows, generations
from projections.building.batch import JourneyKey, Unsorted, gather
from projections.building.fold import Rows, copy_journeys, write_campaigns
from projections.journeys import campaign, quarter_hours
from projections.journeys.campaign import About
from projections.journeys.columns import STORED, Integers
from projections.journeys.quarter_hours import QUARTERS_A_DAY
from projections.metrics import MEASURES

EVENTS_A_CHUNK = 50_000  # read at once by one worker; bounds its memory in the first step
EVENTS_A_PART = 100_000  # about so many are folded at once by one worker; bounds its memory in the second
_PREFIX = "campaign-analytics-replay-"
BYTES_AN_EVENT = 80  # of temporary files; 75 were measured
_LOCK = "lock"
_BITS = 0xFFFFFFFF

_Piece = tuple[list[JourneyKey], bytes, list[bytes]]  # of each fact the journey, and its two columns
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Piece).decode
# A sum of a quarter hour on disk.
_CELL = np.dtype([("campaign_id", "<i8"), ("quarter", "<i4"), ("place", "u1"), ("value", "<i8")])


class NoRoomError(Exception):
    """There is no room for the temporary files of a replay; nothing was changed."""


class Hands(NamedTuple):
    """Who does the work: where a worker gets a connection from, and the builtin `map` or that of other processes."""

    connect: Callable[[], AbstractContextManager[Database]]
    map: Callable[..., Iterable[Any]] = map


class Building(NamedTuple):
    """Rows that are being built, the positions that are set aside, and who is told of so many more events folded."""

    database: Database
    rows: Rows
    aside: frozenset[int | None]
    progress: Callable[[int], object]


class Chunk(NamedTuple):
    """A stretch of the log whose facts are to be written to a file, by parts."""

    connect: Callable[[], AbstractContextManager[Database]]
    workspace_id: int
    after: int
    upto: int
    aside: frozenset[int | None]
    parts: int
    file: Path


class Parted(NamedTuple):
    """A file in parts, and where each of them ends."""

    file: Path
    ends: list[int]

    def piece(self, number: int) -> tuple[Path, int, int]:
        """Return where one of the parts lies: the file, from and up to a byte."""
        return self.file, self.ends[number - 1] if number else 0, self.ends[number]


class Sorted(NamedTuple):
    """What became of a chunk: its facts in a file, what it says of campaigns themselves, and its events."""

    facts: Parted
    campaigns: dict[int, About]
    events: int


class Part(NamedTuple):
    """What is to be written as new rows: the pieces of files, from and up to a byte, that hold it."""

    connect: Callable[[], AbstractContextManager[Database]]
    rows: Rows
    pieces: list[tuple[Path, int, int]]


class PartOfJourneys(NamedTuple):
    """Whole journeys; what they add to quarter hours is to be written to a file, by parts."""

    part: Part
    parts: int
    file: Path


class Folded(NamedTuple):
    """What journeys add: to the quarter hours, in a file, and to each campaign's sums and number of facts."""

    cells: Parted
    totals: dict[int, Integers]
    facts: dict[int, int]


def rebuild(hands: Hands, building: Building, upto: int) -> None:
    """Fold the log up to a position into rows of which there are none yet.

    Progress is told of half an event for either step. Raises FoldError for the first fact that can't be folded, and
    SupersededError.
    """
    database, rows, aside, progress = building
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        generations.extend(database, rows, done, upto)
        progress(more)

    parts = -(-upto // EVENTS_A_PART)
    totals: dict[int, Integers] = defaultdict(lambda: np.zeros(len(MEASURES), np.int64))
    facts: dict[int, int] = defaultdict(int)
    campaigns: dict[int, About] = defaultdict(About)
    require_room(upto)
    with _directory() as directory:
        chunks = [
            Chunk(
                hands.connect,
                rows.workspace_id,
                after,
                min(after + EVENTS_A_CHUNK, upto),
                aside,
                parts,
                directory / str(after),
            )
            for after in range(0, upto, EVENTS_A_CHUNK)
        ]
        found: list[Parted] = []
        for each in hands.map(sort_chunk, chunks):
            found.append(each.facts)
            advance(each.events // 2)
            for campaign_id, about in each.campaigns.items():
                campaigns[campaign_id] = campaign.both(campaigns[campaign_id], about)

        def todo(of: Sequence[Parted]) -> list[Part]:
            return [Part(hands.connect, rows, [each.piece(number) for each in of]) for number in range(parts)]

        journeys = [PartOfJourneys(part, parts, directory / f"cells-{n}") for n, part in enumerate(todo(found))]
        rest = upto - done
        added: list[Parted] = []
        for number, folded in enumerate(hands.map(fold_part, journeys)):
            added.append(folded.cells)
            advance(rest * (number + 1) // parts - rest * number // parts)
            for campaign_id, sums in folded.totals.items():
                totals[campaign_id] += sums
                facts[campaign_id] += folded.facts[campaign_id]
        for _ in hands.map(sum_part, todo(added)):
            advance(0)
    with database.transaction():
        generations.hold(database, rows)
        write_campaigns(database, rows, totals, facts, campaigns, {})


def sort_chunk(chunk: Chunk) -> Sorted:
    """Write a chunk's facts to its file, by parts. Raises FoldError for the first that can't be folded."""
    with chunk.connect() as database, database.transaction():
        log = ledger.scan(database, chunk.workspace_id, after=chunk.after, upto=chunk.upto)
        gathered = gather(log, chunk.aside)
    keys, of, facts, details = gathered.facts
    parts = np.array([crc32(name.encode(), campaign_id & _BITS) % chunk.parts for campaign_id, name in keys], np.int64)
    parts = parts[np.array(of, np.int64)]
    order = np.argsort(parts, kind="stable")
    bounds = np.searchsorted(parts[order], np.arange(chunk.parts + 1)).tolist()
    written = []
    for start, end in pairwise(bounds):
        chosen = order[start:end].tolist()
        names = [keys[of[fact]] for fact in chosen]
        written.append(
            _encode((names, facts[order[start:end]].astype(STORED).tobytes(), [details[fact] for fact in chosen]))
        )
    return Sorted(_write(chunk.file, written), gathered.campaigns, chunk.upto - chunk.after)


def fold_part(journeys: PartOfJourneys) -> Folded:
    """Write a part's journeys, and to a file what they add to quarter hours. Raises SupersededError."""
    part, number_of_parts, file = journeys
    numbers: dict[JourneyKey, int] = {}
    of: list[int] = []
    columns: list[_Piece] = []
    for piece in part.pieces:
        found = _decode(_read(*piece))
        of += [numbers.setdefault(key, len(numbers)) for key in found[0]]
        columns.append(found)
    unsorted = Unsorted(
        list(numbers),
        of,
        np.frombuffer(b"".join([each[1] for each in columns]), STORED),
        [details for each in columns for details in each[2]],
    )
    with part.connect() as database, database.transaction():
        database.execute(generations.NO_WAIT_FOR_DISK)
        generations.hold(database, part.rows)
        gained = copy_journeys(database, part.rows, unsorted.by_journey())
    written = np.empty(gained.cells.keys.size, _CELL)
    written["campaign_id"] = np.array(gained.campaign_ids, np.int64)[gained.cells.owners]
    written["quarter"], written["place"] = gained.cells.quarters, gained.cells.places
    written["value"] = gained.cells.values
    parts = (gained.cells.quarters // QUARTERS_A_DAY + written["campaign_id"]) % number_of_parts
    cells_of_parts = [written[parts == number].tobytes() for number in range(number_of_parts)]
    return Folded(_write(file, cells_of_parts), gained.totals(), gained.facts)


def sum_part(part: Part) -> None:
    """Add up a part's quarter hours, and write their days. Raises SupersededError."""
    found = np.frombuffer(b"".join([_read(*piece) for piece in part.pieces]), _CELL)
    campaign_ids, owners = np.unique(found["campaign_id"], return_inverse=True)
    quarters, places = found["quarter"].astype(np.int64), found["place"].astype(np.int64)
    days = quarter_hours.packed(quarter_hours.summed([quarter_hours.cells(owners, quarters, places, found["value"])]))
    with part.connect() as database, database.transaction():
        database.execute(generations.NO_WAIT_FOR_DISK)
        generations.hold(database, part.rows)
        day_rows.copy(database, *part.rows, campaign_ids.tolist(), days)


def _write(path: Path, parts: Sequence[bytes]) -> Parted:
    ends = []
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
            ends.append(file.tell())
    return Parted(path, ends)


def _read(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


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
    """Lend a directory that is deleted afterwards, at the latest by the next one to ask where this process dies."""
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
        with lock.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent)
    except (BlockingIOError, FileNotFoundError, PermissionError):
        return  # in use, deleted by somebody else, or somebody else's
