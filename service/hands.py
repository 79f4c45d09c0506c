"""The processes that share the work of a replay; they end with the one that began them, however it ends."""

import gc
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread

import psycopg

from projections.shuffle import Hands

_NICENESS = 19  # requests go first


@contextmanager
def hands(conninfo: str, workers: int) -> Iterator[Hands]:
    """Lend so many processes that work with connections of their own; of one, this one."""
    connect = partial(psycopg.connect, conninfo, autocommit=True)
    if workers == 1:
        yield Hands(connect)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin) as executor:
        yield Hands(connect, executor.map)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to answer
    os.nice(_NICENESS)
    gc.disable()  # millions of tuples and no cycles: looking for some takes a tenth of the time
    Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # this is a child
    wait([parent.sentinel])
    os._exit(1)  # nobody is there to be told
