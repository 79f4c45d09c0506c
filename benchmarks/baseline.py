"""Live projection and replay, against those of the commit that BASELINE names, each on a server of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import measure, web

ROUNDS = 7
# Each runs with the code of either commit, waits for a line, and answers with events a second.
LIVE = """
import sys
from benchmarks import measure, world
from projections.building.projector import Projector

EVENTS = 200_000
events = getattr(world, "events", None) or world.facts  # the name in older commits
with world.fresh_pool() as (_, pool):
    projector = Projector(pool)
    for workspace_id, _ in enumerate(sys.stdin, 1):
        world.fill(pool, workspace_id, events(EVENTS, workspace_id))

        def project():
            while projector.step():
                pass
            return EVENTS

        print(measure.rate(project), flush=True)
"""
REPLAY = """
import sys
from benchmarks import replay, world

with world.fresh_pool() as (url, pool):
    replay.fill(pool, 1, 1_000_000)
    for _ in sys.stdin:
        print(replay.replayed(url)["rate"], flush=True)
"""


def main() -> None:
    """Measure both, in turns."""
    with web.baseline_tree() as tree:
        if tree is None:
            print("the commit before is not measured: name it in BASELINE", file=sys.stderr)
            return
        for what, script in (("live projection", LIVE), ("replay of 1,000,000", REPLAY)):
            with _running(script, tree) as before, _running(script, web.HOME) as now:
                measure.compare(f"{what}, against that of the baseline", before, now, 0.95, ROUNDS)


@contextmanager
def _running(script: str, home: Path) -> Iterator[Callable[[], float]]:
    """Run a script with the code that lies at `home`; give what asks it for the next rate."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, answers = process.stdin, process.stdout

    def rate() -> float:
        stdin.write("\n")
        stdin.flush()
        return float(answers.readline())

    try:
        rate()  # the first one is slower
        yield rate
    finally:
        stdin.close()
        process.wait()
