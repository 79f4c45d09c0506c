"""The command `project`, which a tree of processes runs too: the projector."""

import argparse
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from threading import Event

from api import counts
from api.counts import Counts
from api.telemetry import Measurements
from projections.building import rebuilding
from projections.building.projector import Projector
from projections.building.wakeup import PROJECTED, Hints
from service import database, logs, spans
from service.commands.terminal import DONE, Add
from service.connect import chosen_database
from service.processes import lifeline
from service.settings import Settings


def add_commands(add: Add) -> None:
    """Teach the parser this command."""
    add("project", _project, "run the projector alone")


def _project(_: argparse.Namespace, chosen: Settings) -> int:
    logs.configure(chosen)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    lifeline.watch()
    in_a_tree = Counts.inherited(os.environ)  # whose API tells the metrics of all its processes
    measurements = Measurements(in_a_tree or Counts(), counts.PROJECTOR)
    with (
        chosen_database(chosen) as url,
        _metrics(None if in_a_tree else chosen.metrics_bind, url, measurements),
    ):
        database.check_encoding(url)  # a database that is not there yet is waited for
        outage = database.new_outage()
        with (
            database.open_pool(url, size=5, statement_timeout=database.BATCH_TIMEOUT, outage=outage) as pool,
            ThreadPoolExecutor(1, "keep-current") as beside,
        ):
            hints, tracing = Hints(pool, PROJECTED), spans.of(chosen)
            keeping = beside.submit(rebuilding.keep_current, pool, stop)
            keeping.add_done_callback(lambda _: stop.set())  # neither goes on without the other
            try:
                Projector(pool, on_advance=hints.give, on_poll=measurements.looked, tracer=tracing).run(stop)
            finally:
                hints.close()
                if tracing is not None:
                    tracing.close()
                stop.set()
            keeping.result()
    return DONE


def _metrics(
    bind: tuple[str, int] | None, database_url: str, measurements: Measurements
) -> AbstractContextManager[None]:
    """Answer `/metrics` and `/healthz` meanwhile, where an address is given."""
    if bind is None:
        return nullcontext()
    from service.processes import metrics  # noqa: PLC0415 (only where it answers)

    return metrics.serving(bind, database_url, measurements)
