"""The worker processes of a replay; they end with their parent, however it ends."""

import gc
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import wait
from threading import Thread

from projections.building.replay_by_parts import Workers
from service import database
from service.connection import Connection

_NICENESS = 19  # requests go first


class WorkerEndedError(Exception):
    """A process of ours was ended from outside; each workspace is old or new, and it can be begun again."""

    def __init__(self) -> None:
        """Take nothing; the docstring is the text."""
        super().__init__(self.__doc__)


@contextmanager
def replay_workers(conninfo: str, workers: int) -> Iterator[Workers]:
    """Yield so many worker processes with connections of their own; for 1, this process.

    Called in the main thread. Raises WorkerEndedError where one of them is ended from outside.
    """
    connect = partial(Connection.connect, conninfo, statement_timeout=database.BATCH_TIMEOUT)
    if workers == 1:
        yield Workers(connect)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin) as executor:
        with _interrupted_later():
            for _ in range(workers):
                executor.submit(os.getpid)  # starts one
        try:
            yield Workers(connect, executor.map)
        except BrokenProcessPool as error:
            raise WorkerEndedError from error


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Block Ctrl-C for the processes that are started meanwhile, and for this one until they have started."""
    came: list[int] = []
    resource_tracker.ensure_running()  # if it began now, it would unblock the signal
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # this is what they inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if came:
        raise KeyboardInterrupt


def _begin() -> None:
    os.nice(_NICENESS)
    gc.disable()  # millions of tuples and no cycles: looking for some takes a tenth of the time
    Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # this is a child
    wait([parent.sentinel])
    os._exit(1)  # no parent is left to report to
