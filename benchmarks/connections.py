"""Many connections: reads beside some that are idle or wait, and how connections share the worker processes.

Beside them, how long reads take while the service is busy with something heavy.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from statistics import median

import msgspec

from benchmarks import measure, processes, read, waits, web, world
from benchmarks.crowd import crowd
from domain.recorder import Pool
from projections.building.projector import Projector

SECONDS = 3
ROUNDS = 5
IDLE, WAITING = 2_000, 200
WORKERS = (2, 4, 8)
CONNECTIONS = (4, 16, 64)
STARTS = 10  # times to look whether all workers have begun
READ, BIG = 2, 3  # workspaces; the first is posted to
PATH = f"/api/v1/dashboard/campaign-analytics/?workspace_id={READ}"
BEYOND = 2**40  # no log is so long


def main() -> None:
    """Measure them all."""
    if not web.can_be_measured("connections"):
        return
    with web.service(BIG) as (environment, pool, headers):
        _fill(pool)
        with web.running(environment) as (service, arbiter):
            _beside_a_crowd(service, arbiter, headers)
            waits.compare(service, PATH, headers, BIG, pool)
        for workers in WORKERS:
            with web.running({**environment, "WEB_CONCURRENCY": str(workers)}) as (service, arbiter):
                _spread(service, arbiter, headers)


def _fill(pool: Pool) -> None:
    world.fill(pool, READ, world.events(20_000))
    world.fill(pool, BIG, [msgspec.structs.replace(event, campaign_id=1) for event in world.events(50_000, BIG)])
    projector = Projector(pool)
    while projector.step():
        pass


def _beside_a_crowd(service: str, arbiter: int, headers: Mapping[str, str]) -> None:
    """Ask in turns by ourselves and beside connections that are idle or wait; print what memory they take."""
    beside, still_open = [""], [IDLE + WAITING]

    def ask() -> float:
        return web.load(f"{service}{PATH}", headers, connections=read.CONNECTIONS, seconds=SECONDS)

    def ask_beside() -> float:
        with crowd(service, "/healthz", f"{PATH}&min_position={BEYOND}", headers, (IDLE, WAITING)):
            rate = ask()
            beside.append(_memory(arbiter))
            still_open.append(sum(processes.connections(each, service) for each in processes.workers(arbiter)))
        return rate

    before = _memory(arbiter)
    measure.compare(
        f"reads beside {IDLE:,} idle connections and {WAITING} that wait, against none", ask, ask_beside, 0.9, ROUNDS
    )
    print(
        f"(the workers' memory: at first {before}, beside them {beside[-1]}, after them {_memory(arbiter)}; "
        f"of {IDLE + WAITING:,} connections {min(still_open):,} were still open in the end)",
        flush=True,
    )


def _memory(arbiter: int) -> str:
    return " + ".join(f"{processes.memory(each) / 2**20:.0f}" for each in processes.workers(arbiter)) + " MiB"


def _spread(service: str, arbiter: int, headers: Mapping[str, str]) -> None:
    """Print how connections that come together are spread over the worker processes."""
    workers = processes.workers(arbiter)
    for _ in range(STARTS):
        if all(_loaded(service, workers, headers, max(CONNECTIONS))[1]):
            break  # else some have not begun yet
    for connections in CONNECTIONS:
        rounds = [_loaded(service, workers, headers, connections) for _ in range(ROUNDS)]
        shares = [max(counts) / ceil(connections / len(workers)) for _, counts in rounds]
        print(
            f"{connections} connections over {len(workers)} workers: {median(rate for rate, _ in rounds):,.0f}/s; "
            f"the one with the most has so often its share: {measure.spread(shares)}; "
            f"the last time they had {', '.join(map(str, rounds[-1][1]))}",
            flush=True,
        )


def _loaded(service: str, workers: list[int], headers: Mapping[str, str], connections: int) -> tuple[float, list[int]]:
    """Return how many requests a second are answered, and how many connections each worker had, the most first."""
    with ThreadPoolExecutor(1) as client:
        asking = client.submit(read.requests, f"{service}{PATH}", headers, connections)
        time.sleep(read.SECONDS / 2)
        counts = [processes.connections(each, service) for each in workers]
        return asking.result(), sorted(counts, reverse=True)
