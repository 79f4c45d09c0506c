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
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from domain import ledger
from domain.recorder import Database
from projections import activity, campaign, generations
from projections.activity import Cells, Day, DayKey
from projections.campaign import About
from projections.fold import Gained, JourneyKey, Rows, contributed, copy_journeys, gather, write_campaigns
from projections.journey import Fact

EVENTS_A_CHUNK = 50_000  # read at once by one worker; bounds its memory in the first step
EVENTS_A_PART = 100_000  # about so many are folded at once by one worker; bounds its memory in the second
_PREFIX = "campaign-analytics-replay-"
_LOCK = "lock"
_BITS = 0xFFFFFFFF

_Pieces = list[tuple[int, str, list[Fact]]]  # campaign, prospect, some of the journey's facts
_Days = list[tuple[int, Day]]  # with the campaign
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Pieces).decode
_decode_days = msgspec.msgpack.Decoder(_Days).decode


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
    """Journeys or days that are to be written as new rows: the pieces of files, from and up to a byte, that hold them.

    What journeys add to the days is written to a file, by as many parts.
    """

    connect: Callable[[], AbstractContextManager[Database]]
    rows: Rows
    pieces: list[tuple[Path, int, int]]
    file: Path
    parts: int


class Folded(NamedTuple):
    """What journeys add: to the days, in a file, to the sums of each campaign, and to its number of facts."""

    days: Parted
    totals: dict[int, int]
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
    totals: dict[int, int] = defaultdict(int)
    facts: dict[int, int] = defaultdict(int)
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
        found: list[Parted] = []
        for each in hands.map(sort_chunk, chunks):
            found.append(each.facts)
            advance(each.events // 2)
            for campaign_id, about in each.campaigns.items():
                campaigns[campaign_id] = campaign.both(campaigns[campaign_id], about)

        def todo(of: Sequence[Parted]) -> list[Part]:
            pieces = ([each.piece(number) for each in of] for number in range(parts))
            return [Part(hands.connect, rows, each, directory / f"days-{n}", parts) for n, each in enumerate(pieces)]

        rest = upto - done
        days: list[Parted] = []
        for number, folded in enumerate(hands.map(fold_part, todo(found))):
            days.append(folded.days)
            advance(rest * (number + 1) // parts - rest * number // parts)
            for campaign_id, added in folded.totals.items():
                totals[campaign_id] += added
                facts[campaign_id] += folded.facts[campaign_id]
        for _ in hands.map(sum_part, todo(days)):
            advance(0)
    with database.transaction():
        generations.hold(database, rows)
        write_campaigns(database, rows, totals, facts, campaigns, {})


def sort_chunk(chunk: Chunk) -> Sorted:
    """Write a chunk's facts to its file, by parts. Raises FoldError for the first that can't be folded."""
    with chunk.connect() as database, database.transaction():
        log = ledger.scan(database, chunk.workspace_id, after=chunk.after, upto=chunk.upto)
        gathered = gather(log, chunk.aside)
    parts: list[_Pieces] = [[] for _ in range(chunk.parts)]
    for (campaign_id, prospect_id), facts in gathered.journeys.items():
        part = crc32(prospect_id.encode(), campaign_id & _BITS) % chunk.parts
        parts[part].append((campaign_id, prospect_id, facts))
    return Sorted(_write(chunk.file, parts), gathered.campaigns, chunk.upto - chunk.after)


def fold_part(part: Part) -> Folded:
    """Write a part's journeys, and to a file what they add to the days of campaigns. Raises SupersededError."""
    journeys: dict[JourneyKey, list[Fact]] = defaultdict(list)
    for piece in part.pieces:
        for campaign_id, prospect_id, facts in _decode(_read(*piece)):
            journeys[campaign_id, prospect_id] += facts
    gained = Gained()
    packed = contributed(journeys, {}, gained)
    with part.connect() as database, database.transaction():
        database.execute(generations.NO_WAIT_FOR_DISK)
        generations.hold(database, part.rows)
        copy_journeys(database, part.rows, packed)
    parts: list[_Days] = [[] for _ in range(part.parts)]
    for (campaign_id, day), cells in gained.days().items():
        parts[crc32(b"%d" % day, campaign_id & _BITS) % part.parts].append((campaign_id, activity.packed(day, cells)))
    return Folded(_write(part.file, parts), gained.totals(), dict(gained.facts))


def sum_part(part: Part) -> None:
    """Add up a part's days, and write them. Raises SupersededError."""
    days: dict[DayKey, Cells] = defaultdict(dict)
    for piece in part.pieces:
        for campaign_id, (day, _, quarters) in _decode_days(_read(*piece)):
            assert quarters is not None
            activity.add(days[campaign_id, day], activity.unpacked(day, quarters))
    with part.connect() as database, database.transaction():
        database.execute(generations.NO_WAIT_FOR_DISK)
        generations.hold(database, part.rows)
        rows = ((campaign_id, activity.packed(day, cells)) for (campaign_id, day), cells in sorted(days.items()))
        activity.copy(database, *part.rows, rows)


def _write(path: Path, parts: Sequence[Sequence[object]]) -> Parted:
    ends = []
    with path.open("wb") as file:
        for part in parts:
            file.write(_encode(part))
            ends.append(file.tell())
    return Parted(path, ends)


def _read(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


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
