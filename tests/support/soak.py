"""Runs the service under load while its processes are killed at random, and checks everything that it has answered."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Event

from service import database, embedded
from tests.support import reference
from tests.support.examples import JWT_SECRET, api_key
from tests.support.running import ROOT, Service, environment, request, running, users_of
from tests.support.soak_kills import HEAVY, WEIGHTS, Killer
from tests.support.soak_load import DOWN, USER, Load, Workspace, WrongError
from tests.support.waiting import wait_for

WRITERS, READERS, TOOLS = 4, 2, 1
HEALED_SECONDS = 120.0

# A replay whose pieces are small, so that a kill finds it anywhere.
REPLAY = """
import sys
from projections.building import replay, replay_by_parts
from service.cli import main
replay.NEARLY_THERE = replay_by_parts.EVENTS_A_CHUNK = 30
replay_by_parts.EVENTS_A_PART = 60
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


class Soak:
    """One soak: what runs, what was killed, and what came of it."""

    def __init__(self, seed: int, home: Path, port: int) -> None:
        """Take what chance begins with, a home for the embedded server, and a free port."""
        self._port = port
        self._home = home
        self._variables = {
            "CAMPAIGN_ANALYTICS_HOME": str(home),
            "JWT_SECRET": JWT_SECRET,
            "WEB_CONCURRENCY": "2",
            "WEB_THREADS": "4",
            "TMPDIR": str(home),
        }
        self._chance = Random(f"{seed} kills")
        self._seed = seed
        self._stopped = Event()
        self._service: Service | None = None
        self._replay: subprocess.Popen[bytes] | None = None
        self._killer = Killer(self._chance, home)
        self.load = self._prepared()
        self.killed: dict[str, int] = dict.fromkeys(WEIGHTS, 0)
        self.away: dict[str, list[float]] = {kind: [] for kind in sorted(HEAVY)}
        self.ends: Counter[str] = Counter()

    def run(self, kills: int, seconds: float) -> None:
        """Kill so many processes, within so many seconds and some more to recover, and check what was answered."""
        load = self.load
        with ThreadPoolExecutor(WRITERS + READERS + TOOLS + 3) as threads, self._serving(threads) as serving:
            wait_for(self._is_ready, HEALED_SECONDS)
            tasks = [threads.submit(load.follow), threads.submit(self._replay_on)]
            for work, number in ((load.write, WRITERS), (load.look, READERS), (load.deliver, TOOLS)):
                tasks += [threads.submit(work, each) for each in range(number)]
            try:
                self._kill(kills, seconds, [serving, *tasks])
            finally:
                load.ended.set()
            for task in tasks:
                task.result(HEALED_SECONDS)
            wait_for(self._is_ready, HEALED_SECONDS)
            for workspace in load.workspaces:
                self._check(workspace)
            self._verify()

    def figures(self) -> str:
        """Return what has come of it, a line each."""
        workspaces = self.load.workspaces
        lines = {
            "killed": f"{sum(self.killed.values())}: {self.killed}",
            "seconds until ready again, at most": {
                kind: round(max(each, default=0), 1) for kind, each in self.away.items()
            },
            "workspaces": len(workspaces),
            "acknowledged events": sum(len(each.acknowledged) for each in workspaces),
            "positions at which numbers were checked": sum(len(each.shown) for each in workspaces),
            "ends": dict(sorted(self.ends.items())),
            "answers": dict(sorted(self.load.outcomes.items())),
        }
        return "\n".join(f"{name}: {value}" for name, value in lines.items())

    def _prepared(self) -> Load:
        with embedded.attach(self._home, durable=False) as attachment:  # a third of the time; the service's own is
            database.migrate(attachment.url)
            with users_of(attachment.url) as users:
                keys = {
                    "user": api_key(users, user=USER),
                    "admin": api_key(users, user="platform", scopes=("admin",)),
                }
        wait_for(lambda: not embedded.running(self._home))
        return Load(self._seed, f"http://127.0.0.1:{self._port}", keys)

    @contextmanager
    def _serving(self, threads: ThreadPoolExecutor) -> Iterator[Future[None]]:
        """Keep the service running as an init system does; in the end it must stop as it should."""
        task = threads.submit(self._serve_on)
        try:
            yield task
        finally:
            self._stopped.set()
        task.result(HEALED_SECONDS)

    def _serve_on(self) -> None:
        while not self._stopped.is_set():
            with running(("-m", "service.cli", "serve", "--port", str(self._port)), ROOT, **self._variables) as service:
                self._service = service
                while service.process.poll() is None and not self._stopped.is_set():
                    self._stopped.wait(0.05)
                if self._stopped.is_set() and service.process.poll() is None:
                    service.stop()
                else:
                    self.ends[f"serve {service.process.returncode}"] += 1
                    self._killer.sweep()

    def _replay_on(self) -> None:
        """Rebuild one of the latest workspaces, again and again."""
        chance = Random(f"{self._seed} replays")
        while not self.load.ended.is_set():
            if self.load.workspaces:
                number = chance.choice(self.load.workspaces[-3:]).number
                workers = str(chance.randint(1, 2))
                code = self._command("-c", REPLAY, "replay", "--workspace", str(number), "--workers", workers)
                self.ends[f"replay {code}"] += 1
            self.load.ended.wait(0.1)

    def _command(self, *arguments: str) -> int:
        with subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment(**self._variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            self._replay = process
            return process.wait()

    def _kill(self, kills: int, seconds: float, tasks: list[Future[None]]) -> None:
        while sum(self.killed.values()) < kills:
            self._stopped.wait(seconds / kills * 2 * self._chance.random())
            for task in tasks:
                if task.done():
                    task.result()
            service, replay = self._service, self._replay
            assert service is not None
            kind = self._killer.kill(service.process.pid, replay.pid if replay and replay.poll() is None else None)
            if kind is not None:
                self.killed[kind] += 1
            if kind in HEAVY and self._chance.random() < 0.7:
                self.away[kind].append(self._recovered(service if kind == "serve" else None))

    def _recovered(self, killed: Service | None) -> float:
        """Wait until the service is ready again, another one where that one was killed; return how many seconds."""
        began = time.monotonic()
        wait_for(lambda: self._service is not killed, HEALED_SECONDS)
        wait_for(self._is_ready, HEALED_SECONDS)
        return time.monotonic() - began

    def _is_ready(self) -> bool:
        try:
            return request(self.load.url, "GET", "/readyz").status == 200
        except DOWN:
            return False

    def _check(self, workspace: Workspace) -> None:
        """Compare a workspace's log with what was sent, and every answer with the log up to its position."""
        load = self.load
        while load.read_on(workspace, insist=True) > len(workspace.read):
            pass
        log = workspace.read
        if len(set(log)) != len(log) or not workspace.acknowledged <= set(log) <= workspace.sent.keys():
            lost, strange = workspace.acknowledged - set(log), set(log) - workspace.sent.keys()
            raise WrongError("the log", workspace.number, Counter(log).most_common(3), lost, strange)
        query = f"workspace_id={workspace.number}&min_position={len(log)}"
        last = load.insist("read", "GET", f"/api/v1/dashboard/campaign-analytics/?{query}", load.reader)
        shown = {**workspace.shown, len(log): last.json["campaigns"]}
        for position, campaigns in shown.items():
            expected = reference.campaigns([workspace.sent[key] for key in log[:position]])
            if campaigns != [{**campaign, "workspace_id": workspace.number} for campaign in expected]:
                raise WrongError("numbers", workspace.number, position, json.dumps(campaigns), json.dumps(expected))

    def _verify(self) -> None:
        if code := self._command("-m", "service.cli", "replay", "--verify", "--workers", "1"):
            raise WrongError("the read models are not what a replay makes", code)
