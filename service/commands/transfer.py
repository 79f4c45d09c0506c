"""The commands `import` and `export`: a workspace's log in bulk, as lines of JSON.

With `--from` the file is what a tool's API has listed of the past, and becomes the events that its hook would post.
"""

import argparse
import os
import select
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from itertools import islice
from pathlib import Path
from threading import Event
from typing import IO, NamedTuple, Self

import msgspec
from tqdm import tqdm

from api.ingest import formats, intake, ndjson
from api.ingest.deliveries import IGNORED, REJECTED, Effect, part_of_events
from domain import ledger
from domain.events import UndecodableError, canonical, decode
from domain.keyed_campaigns import KnownKeys
from domain.ledger import Outcome, Prepared, Recorded
from domain.recorder import Database, head_of
from projections import access
from projections.queries import rejections
from service import database
from service.clock import clock
from service.commands import tool_export
from service.commands.terminal import DONE, FAILED, MISUSED, Add, identifier, position, print_json, say
from service.connect import chosen_pool
from service.settings import Settings

EVENTS_AT_ONCE = 10_000  # share a transaction, for whose end live posts to the workspace wait
BYTES_AT_ONCE = 16 * 1024 * 1024  # and so many bytes at most
_SWITCH_SECONDS = 0.0005  # Python's 0.005 lets the writing thread wait too long for the reading one
_READ_AT_ONCE = 5_000
_PIECE = 1024 * 1024
_POLL_MS = 200  # between two looks at whether a silent pipe is still to be read
_WITH_END = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
_WITHOUT_END = "{n_fmt} [{elapsed}{postfix}]"

_encode = msgspec.json.Encoder().encode


class _Batch(NamedTuple):
    """Events that share a transaction, ready to be appended, and the bytes read so far."""

    taken: intake.Intake
    prepared: Prepared
    read: int


def add_commands(add: Add) -> None:
    """Teach the parser these commands."""
    added = add("import", _import_file, "load events from a file into a workspace's log")
    added.add_argument("file", metavar="FILE.ndjson", help="one event a line; - reads standard input")
    added.add_argument("--workspace", metavar="ID", type=identifier, required=True, help="whose log")
    added.add_argument("--create", action="store_true", help="begin a log that is not known yet, nor linked to anybody")
    added.add_argument(
        "--from",
        metavar="PROVIDER[/ACCOUNT]",
        dest="provider",
        type=tool_export.provider,
        help="the file is what this tool's API lists, saved as it is; its events are those of the tool's hook",
    )
    added.add_argument("--hook", metavar="ID", help="with --from: as this hook understands the tool")
    added.add_argument("--rejects", metavar="FILE", help="where rejected events go (FILE.ndjson.rejected.ndjson)")
    added.add_argument("--json", action="store_true", help="the counts as JSON")
    added = add("export", _export, "print a workspace's log, as import takes it")
    added.add_argument("--workspace", metavar="ID", type=identifier, required=True, help="whose log")
    added.add_argument("--after", metavar="POSITION", type=position, default=0, help="only what comes behind (0)")


def _import_file(arguments: argparse.Namespace, chosen: Settings) -> int:
    """Load events from a file into a workspace's log; stored events are duplicates, so an import can be repeated."""
    try:
        file = nullcontext(sys.stdin.buffer) if arguments.file == "-" else Path(arguments.file).open("rb")  # noqa: SIM115
    except OSError as error:
        return say(f"FILE: {arguments.file} can't be read: {error.strerror}", MISUSED)
    sys.setswitchinterval(_SWITCH_SECONDS)
    name = "import" if arguments.file == "-" else arguments.file
    stopped = Event()
    with (
        file as source,
        chosen_pool(chosen, database.BATCH_TIMEOUT) as pool,
        pool.connection() as connection,
        ThreadPoolExecutor(1) as reader,
        ExitStack() as ending,
    ):
        ending.callback(stopped.set)  # before the end of the reader is waited for
        workspace = arguments.workspace
        access.require_alive(connection, workspace)
        if not (arguments.create or head_of(connection, workspace) or access.is_linked(connection, workspace)):
            return say(f"--workspace: {workspace} has no log and is linked to nobody; --create begins it", MISUSED)
        batches, unused = _batches(source, stopped), Effect()
        if arguments.provider is not None:
            try:
                events, unused = tool_export.read(connection, arguments, source.read())
            except tool_export.UnusableError as error:
                return say(f"--from: {error}", MISUSED)
            batches = _batches_of(events, source)
        return _import(arguments, source, connection, name, batches, unused, reader)


def _import(  # noqa: PLR0913 (a file, its target, and its events)
    arguments: argparse.Namespace,
    source: IO[bytes],
    connection: Database,
    name: str,
    batches: Iterator[_Batch],
    unused: Effect,
    reader: Executor,
) -> int:
    with (
        _Rejects(Path(arguments.rejects or f"{name}.rejected.ndjson")) as rejects,
        _Progress(source) as progress,
    ):
        keys, repeated = KnownKeys(), False
        position = head_of(connection, arguments.workspace)
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)  # read and checked while this one is written
            if batch.taken.retracts:
                taken = intake.check_retractions(connection, arguments.workspace, batch.taken)
                batch = batch._replace(taken=taken, prepared=ledger.prepare(taken.events))
            others = keys.register(connection, arguments.workspace, batch.taken.events)
            if others:
                taken = batch.taken.without_keys(others)
                batch = _Batch(taken, ledger.prepare(taken.events), batch.read)
            record = ledger.record_carefully if repeated else ledger.record_prepared
            recorded = record(connection, arguments.workspace, batch.prepared)
            repeated = Outcome.DUPLICATE in recorded.outcomes  # then the next one will be, too
            position = recorded.position
            refused = batch.taken.with_conflicts(recorded.outcomes)
            rejections.keep(connection, arguments.workspace, [each.rejection for each in refused])
            rejects.write(refused)
            progress.add(recorded, len(refused), batch.read)
        rejections.keep(connection, arguments.workspace, unused.rejections)
        progress.counts["rejected"] += unused.number(REJECTED)
        if arguments.provider is not None:
            progress.counts["ignored"] = unused.number(IGNORED)
        total = {**progress.counts, "position": position}
    for (what, outcome, reason), number in sorted(unused.counts.items()):
        say(f"{number} {outcome}: {what}: {reason}", DONE)
    say(", ".join(f"{number} {what}" for what, number in progress.counts.items()), DONE)
    if arguments.json:
        print_json({"workspace_id": arguments.workspace, **total})
    if rejects.written:
        say(f"what was rejected, and why, stands in {rejects.path}", FAILED)
    return FAILED if progress.counts["rejected"] else DONE


def _export(arguments: argparse.Namespace, chosen: Settings) -> int:
    """Print the log of a workspace as it is now, in the form that `import` takes."""
    with chosen_pool(chosen, database.BATCH_TIMEOUT) as pool, pool.connection() as connection:
        after, head = arguments.after, head_of(connection, arguments.workspace)
        while rows := ledger.read(connection, arguments.workspace, after=after, upto=head, limit=_READ_AT_ONCE):
            after = rows[-1].position
            try:
                lines = [_encode(canonical(decode(row.topic, row.state))) for row in rows]
            except UndecodableError as error:
                return say(f"workspace {arguments.workspace} can't be exported by this version: {error}", FAILED)
            try:
                sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
                sys.stdout.buffer.flush()
            except BrokenPipeError:  # the reader of the pipe has closed it
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would flush again in the end
                return FAILED
    return DONE


def _batches(file: IO[bytes], stopped: Event) -> Iterator[_Batch]:
    """Yield the events of a file in batches, checked and ready to be appended, until `stopped` is set."""
    lines = ndjson.lines(_pieces(file, stopped))
    first = 0
    while batch := list(_at_once(lines)):
        taken = intake.take(formats.part_of_lines(batch), first, clock())
        first += len(batch)
        yield _Batch(taken, ledger.prepare(taken.events), file.tell() if file.seekable() else 0)


def _pieces(file: IO[bytes], stopped: Event) -> Iterator[bytes]:
    """Yield the content of a file; of a pipe as it comes, so that a silent one can be left."""
    looking = select.poll()  # `select` takes no descriptor from 1,024 on
    looking.register(file, select.POLLIN)
    while not stopped.is_set():
        if looking.poll(_POLL_MS):
            piece = os.read(file.fileno(), _PIECE)
            if not piece:
                return
            yield piece


def _batches_of(events: Sequence[object], file: IO[bytes]) -> Iterator[_Batch]:
    """Yield events that were translated from a file in batches, checked and ready to be appended."""
    for first in range(0, len(events), EVENTS_AT_ONCE):
        taken = intake.take(part_of_events(events[first : first + EVENTS_AT_ONCE]), first, clock())
        yield _Batch(taken, ledger.prepare(taken.events), file.tell() if file.seekable() else 0)


def _at_once(lines: Iterator[ndjson.Line]) -> Iterator[ndjson.Line]:
    """Yield the next lines that share a transaction, so many or so many bytes of them."""
    size = 0
    for each in islice(lines, EVENTS_AT_ONCE):
        yield each
        size += len(each[1] or b"")
        if size >= BYTES_AT_ONCE:
            return


class _Progress:
    """What has become of the events so far, and a bar that shows how fast it goes."""

    def __init__(self, source: IO[bytes]) -> None:
        self.counts: Counter[str] = Counter(accepted=0, duplicates=0, rejected=0)
        size = os.fstat(source.fileno()).st_size if source.seekable() else None
        form = _WITH_END if size else _WITHOUT_END
        self._bar = tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, bar_format=form)
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, recorded: Recorded, refused: int, read: int) -> None:
        """Add a batch, after which so many bytes have been read."""
        self.counts["accepted"] += recorded.outcomes.count(Outcome.ACCEPTED)
        self.counts["duplicates"] += recorded.outcomes.count(Outcome.DUPLICATE)
        self.counts["rejected"] += refused
        events = self.counts.total()
        rate = events / (time.monotonic() - self._started)
        self._bar.set_postfix_str(f"{events:,} events, {rate:,.0f}/s", refresh=False)
        self._bar.update(read - self._bar.n)


class _Rejects:
    """The file of rejected events and the reasons; it is created with the first one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def written(self) -> bool:
        """Return whether anything was refused."""
        return self._file is not None

    def write(self, refused: list[intake.Refused]) -> None:
        """Write the rejected events of a batch, each with its line and its index among all events."""
        if refused and self._file is None:
            self._file = self.path.open("wb")
        for each in refused:
            why = each.rejection
            line: dict[str, object] = {
                "index": each.place,
                "line": each.line,
                "id": why.id,
                "source": why.source,
                "code": why.code,
            }
            line |= {"error": why.error} | ({"errors": each.errors} if len(each.errors) > 1 else {})
            self._file.write(_encode(line) + b"\n")  # type: ignore[union-attr]
