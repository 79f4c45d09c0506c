"""Fold a log of any length into new rows: sorted by journey on disk first, which bounds the memory.

First chunks of the log are read, and their facts written to files by the part that their journey's hash gives; then
each part, which holds whole journeys, is folded by itself. Both steps are calls that other processes can make, so that
several cores share one log.
"""

import fcntl
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from domain import ledger
from domain.recorder import Database
from projections import campaign, generations
from projections.campaign import About
from projections.fold import JourneyKey, Rows, Totals, contributed, copy_journeys, gather, write_campaigns
from projections.journey import Fact

EVENTS_A_CHUNK = 50_000  # read at once by one worker; bounds its memory in the first step
EVENTS_A_PART = 100_000  # about so many are folded at once by one worker; bounds its memory in the second
_PREFIX = "campaign-analytics-replay-"
_LOCK = "lock"
_BITS = 0xFFFFFFFF

_Pieces = list[tuple[int, str, list[Fact]]]  # campaign, prospect, some of the journey's facts
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Pieces).decode


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


class Sorted(NamedTuple):
    """What became of a chunk: where in its file each part ends, and what it says of campaigns themselves."""

    file: Path
    ends: list[int]
    campaigns: dict[int, About]
    events: int


class Part(NamedTuple):
    """Journeys that are to be folded into new rows: the pieces of files, from and up to a byte, that hold them."""

    connect: Callable[[], AbstractContextManager[Database]]
    rows: Rows
    pieces: list[tuple[Path, int, int]]


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
    totals = Totals()
    campaigns: dict[int, About] = defaultdict(About)
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
        found: list[Sorted] = []
        for each in hands.map(sort_chunk, chunks):
            found.append(each)
            advance(each.events // 2)
            for campaign_id, about in each.campaigns.items():
                campaigns[campaign_id] = campaign.both(campaigns[campaign_id], about)
        rest = upto - done
        todo = [Part(hands.connect, rows, _pieces(found, number)) for number in range(parts)]
        for number, part_totals in enumerate(hands.map(fold_part, todo)):
            advance(rest * (number + 1) // parts - rest * number // parts)
            for campaign_id, added in part_totals.items():
                totals[campaign_id] = [one + more for one, more in zip(totals[campaign_id], added, strict=True)]
    with database.transaction():
        generations.hold(database, rows)
        write_campaigns(database, rows, totals, campaigns, {})


def sort_chunk(chunk: Chunk) -> Sorted:
    """Write a chunk's facts to its file, by parts. Raises FoldError for the first that can't be folded."""
    with chunk.connect() as database, database.transaction():
        log = ledger.scan(database, chunk.workspace_id, after=chunk.after, upto=chunk.upto)
        gathered = gather(log, chunk.aside)
    parts: list[_Pieces] = [[] for _ in range(chunk.parts)]
    for (campaign_id, prospect_id), facts in gathered.journeys.items():
        part = crc32(prospect_id.encode(), campaign_id & _BITS) % chunk.parts
        parts[part].append((campaign_id, prospect_id, facts))
    ends = []
    with chunk.file.open("wb") as file:
        for pieces in parts:
            file.write(_encode(pieces))
            ends.append(file.tell())
    return Sorted(chunk.file, ends, gathered.campaigns, chunk.upto - chunk.after)


def fold_part(part: Part) -> dict[int, list[int]]:
    """Write a part's journeys, and return what they add to their campaigns' sums. Raises SupersededError."""
    journeys: dict[JourneyKey, list[Fact]] = defaultdict(list)
    for path, start, end in part.pieces:
        with path.open("rb") as file:
            file.seek(start)
            for campaign_id, prospect_id, facts in _decode(file.read(end - start)):
                journeys[campaign_id, prospect_id] += facts
    totals = Totals()
    packed = contributed(journeys, {}, totals)
    with part.connect() as database, database.transaction():
        database.execute(generations.NO_WAIT_FOR_DISK)
        generations.hold(database, part.rows)
        copy_journeys(database, part.rows, packed)
    return dict(totals)


def _pieces(found: Sequence[Sorted], number: int) -> list[tuple[Path, int, int]]:
    return [(each.file, each.ends[number - 1] if number else 0, each.ends[number]) for each in found]


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
