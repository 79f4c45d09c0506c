"""Shows what a spool holds, and resends what was refused: `python -m campaign_analytics_client status SPOOL`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from campaign_analytics_client import salvage as copying
from campaign_analytics_client.errors import ClientError, InvalidEventError
from campaign_analytics_client.events import prepare
from campaign_analytics_client.rows import DAMAGED
from campaign_analytics_client.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DONE, FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 where it is done, 1 where it failed."""
    chosen = _parser().parse_args(arguments)
    try:
        with _opened(chosen) as spool:
            result: int = chosen.run(spool, chosen)
            return result
    except (ClientError, OSError) as error:
        print(error, file=sys.stderr)
        return FAILED


@contextmanager
def _opened(chosen: argparse.Namespace) -> Iterator[Spool]:
    """Open the spool; to salvage it a copy, since a spool's log is written into its file as it is closed."""
    path = Path(chosen.spool)
    if chosen.run is not salvage or not path.exists():
        with closing(Spool(path)) as spool:
            yield spool
        return
    with TemporaryDirectory(dir=Path(chosen.new).parent) as directory:
        for each in (path, path.with_name(f"{path.name}-wal")):
            if each.exists():
                shutil.copyfile(each, Path(directory) / each.name)
        with closing(Spool(Path(directory) / path.name)) as spool:
            yield spool


def status(spool: Spool, chosen: argparse.Namespace) -> int:
    """Print how much waits and was refused, and what the sender last wrote down."""
    content, note = spool.content(), spool.note()
    shown: dict[str, Any] = {
        "workspace_id": spool.workspace_id,
        "pending": content.pending,
        "dead": content.dead,
        "bytes": content.bytes,
        "state": note.state if note else "idle",
        "since": note.since if note else None,
        "reason": note.reason if note else "",
    }
    if chosen.json:
        print(json.dumps(shown))
        return DONE
    print(f"workspace    {spool.workspace_id}")
    print(f"pending      {content.pending:,}")
    print(f"dead letters {content.dead:,}")
    print(f"bytes        {content.bytes:,}")
    if note:
        print(f"sender       {note.state} since {note.since}" + (f": {note.reason}" if note.reason else ""))
    return DONE


def dead(spool: Spool, chosen: argparse.Namespace) -> int:
    """Print the dead letters."""
    for letter in spool.dead():
        event = letter.event
        if chosen.json:
            shown = {**letter._asdict(), "event": event, "body": letter.body.decode(errors="replace")}
            if event is not None:
                del shown["body"]
            print(json.dumps(shown, ensure_ascii=False))
        else:
            what = letter.body.decode(errors="replace")
            print(f"{letter.number}  {letter.at}  {letter.code}: {letter.error}\n    {what}")
    return DONE


def retry(spool: Spool, chosen: argparse.Namespace) -> int:
    """Put dead letters back at the end of what is sent."""
    if chosen.all:
        letters = spool.dead()
        bodies: dict[int, bytes | None] = {letter.number: None for letter in letters if letter.code != DAMAGED}
        if len(bodies) < len(letters):
            print(f"{len(letters) - len(bodies):,} damaged ones stay until they are --mended", file=sys.stderr)
    elif chosen.mended is not None:
        with chosen.mended as lines:
            bodies = dict(map(_mended, filter(str.strip, lines)))
    else:
        bodies = dict.fromkeys(chosen.numbers)
    missing = [number for number, body in bodies.items() if not spool.revive(number, body)]
    print(f"{len(bodies) - len(missing):,} events will be sent again", file=sys.stderr)
    return _missing(missing)


def drop(spool: Spool, chosen: argparse.Namespace) -> int:
    """Remove dead letters for ever."""
    return _missing([number for number in chosen.numbers if not spool.drop(number)])


def salvage(spool: Spool, chosen: argparse.Namespace) -> int:
    """Copy what can be read of a damaged spool into a new file."""
    if Path(chosen.new).exists():
        print(f"{chosen.new} exists already", file=sys.stderr)
        return FAILED
    with closing(Spool(chosen.new, workspace_id=spool.workspace_id)) as new:
        saved = copying.salvage(spool, new)
    print(f"{saved.events:,} events and {saved.dead:,} dead letters were copied", file=sys.stderr)
    for first, last in saved.lost:
        print(f"{first} to {last} can't be read, or not all of them", file=sys.stderr)
    return FAILED if saved.lost else DONE


def _mended(line: str) -> tuple[int, bytes]:
    """Return the number and the event of a line that `dead --json` has printed and somebody has mended."""
    try:
        letter = json.loads(line)
        number, event = int(letter["number"]), letter["event"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidEventError("a mended line needs `number` and `event`, as `dead --json` prints them") from error
    return number, prepare(event, lambda: datetime.now(timezone.utc)).body


def _missing(numbers: Sequence[int]) -> int:
    for number in numbers:
        print(f"{number} is no dead letter of this spool, or damaged", file=sys.stderr)
    return FAILED if numbers else DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m campaign_analytics_client", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run in (status, dead, retry, drop, salvage):
        command = commands.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
        command.add_argument("spool", help="the spool's file")
        command.set_defaults(run=run)
        if run in (status, dead):
            command.add_argument("--json", action="store_true", help="JSON; one object a line for dead letters")
        if run is salvage:
            command.add_argument("new", help="the new spool's file")
        if run is drop:
            command.add_argument("numbers", nargs="+", type=int, metavar="NUMBER")
        if run is retry:
            which = command.add_mutually_exclusive_group(required=True)
            which.add_argument("numbers", nargs="*", type=int, default=[], metavar="NUMBER")
            which.add_argument("--all", action="store_true", help="all dead letters, as they are")
            which.add_argument(
                "--mended",
                type=argparse.FileType(encoding="utf-8"),
                metavar="FILE",
                help="lines of `dead --json` with their events mended; - for stdin",
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
