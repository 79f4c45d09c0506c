"""Kills processes of a running service at random, each kind of them, and those of its embedded PostgreSQL."""

import os
import signal
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.support.running import Process, processes

# How often a kind of process is chosen, where one lives. What takes everything along for seconds is rare, so that
# enough goes on between two kills for the next one to hit.
WEIGHTS = {
    "worker": 40,
    "projector": 12,
    "other": 12,  # a child of the service that is neither of the above
    "backend": 12,
    "background": 4,  # of PostgreSQL: its checkpointer, its writer of the log, …
    "replay": 15,
    "keeper": 4,
    "gunicorn": 3,
    "serve": 2,
    "postmaster": 2,
}
HEAVY = {"serve", "postmaster"}


class Killer:
    """Chooses processes by chance and kills them, at first one of each kind."""

    def __init__(self, chance: Random, home: Path) -> None:
        """Take where chance comes from, and the home of the embedded server."""
        self._chance = chance
        self._home = home
        self._first = list(WEIGHTS)
        chance.shuffle(self._first)
        self._tree: list[Process] = []

    def kill(self, serve: int, replay: int | None) -> str | None:
        """Kill -9 one process of the service with this number, of the replay with that one, or of the server.

        Return of which kind it was, None where there was none.
        """
        living = self._living(serve, replay)
        if not living:
            return None
        kind = next((each for each in self._first if each in living), None)
        if kind is None:
            kinds = sorted(living)
            kind = self._chance.choices(kinds, [WEIGHTS[each] for each in kinds])[0]
        with suppress(ProcessLookupError):  # it has ended by itself just now
            os.kill(self._chance.choice(living[kind]).pid, signal.SIGKILL)
            if kind in self._first:
                self._first.remove(kind)
            return kind
        return None

    def sweep(self) -> None:
        """Kill what is left of the service where its first process has ended, as an init system does."""
        listed = processes()
        for each in self._tree:
            if each.pid in listed and listed[each.pid].command == each.command:
                with suppress(ProcessLookupError):
                    os.kill(each.pid, signal.SIGKILL)

    def _living(self, serve: int, replay: int | None) -> dict[str, list[Process]]:
        by_kind: dict[str, list[Process]] = defaultdict(list)
        listed = processes()
        self._tree = _below([serve], listed)
        for process in self._tree:
            by_kind[_kind(process, serve, listed)].append(process)
        if replay is not None:
            by_kind["replay"] = _below([replay], listed)
        postmaster = self._postmaster(listed)
        for process in _below(postmaster, listed):
            client = process.command.startswith("postgres: ") and "[local]" in process.command
            by_kind["backend" if client else "background"].append(process)
        by_kind["postmaster"] = [each for each in by_kind["background"] if each.pid in postmaster]
        by_kind["background"] = [each for each in by_kind["background"] if each.pid not in postmaster]
        keeper = f"embedded.py {self._home} "
        by_kind["keeper"] = [each for each in listed.values() if keeper in each.command]
        return {kind: each for kind, each in by_kind.items() if each}

    def _postmaster(self, listed: dict[int, Process]) -> list[int]:
        try:
            pid = int((self._home / "postgresql" / "data" / "postmaster.pid").read_text().partition("\n")[0])
        except (FileNotFoundError, ValueError):  # it is being started
            return []
        return [pid] if pid in listed and "postgres" in listed[pid].command else []


def _kind(process: Process, serve: int, listed: dict[int, Process]) -> str:
    if process.pid == serve:
        return "serve"
    if "service.cli project" in process.command:
        return "projector"
    if "gunicorn" not in process.command:
        return "other"
    return "gunicorn" if process.parent == serve or process.parent not in listed else "worker"


def _below(roots: Iterable[int], listed: dict[int, Process]) -> list[Process]:
    """Return the living ones of these processes, their children, and so on."""
    below = [listed[pid] for pid in roots if pid in listed]
    for parent in below:  # which grows meanwhile
        below += [each for each in listed.values() if each.parent == parent.pid]
    return below
