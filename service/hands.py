"""The processes that share the work of a replay; they end with the one that began them, however it ends."""

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

import psycopg

from projections.shuffle import Hands

_NICENESS = 19  # requests go first


class WorkerEndedError(Exception):
    """A process of ours was ended from outside; each workspace is old or new, and it can be begun again."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__(self.__doc__)


@contextmanager
def hands(conninfo: str, workers: int) -> Iterator[Hands]:
    """Lend so many processes that work with connections of their own; of one, this one.

    Called in the main thread. Raises WorkerEndedError where one of them is ended from outside.
    """
    connect = partial(psycopg.connect, conninfo, autocommit=True)
    if workers == 1:
        yield Hands(connect)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin) as executor:
        resource_tracker.ensure_running()  # it would unblock the signal again
        # They inherit this: Ctrl-C is for this process alone, which gets one that comes now as soon as they run.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            for _ in range(workers):
                executor.submit(os.getpid)  # starts one
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            yield Hands(connect, executor.map)
        except BrokenProcessPool as error:
            raise WorkerEndedError from error


def _begin() -> None:
    os.nice(_NICENESS)
    gc.disable()  # millions of tuples and no cycles: looking for some takes a tenth of the time
    Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # this is a child
    wait([parent.sentinel])
    os._exit(1)  # nobody is there to be told
