"""Keeps a fork from copying a half-done transaction: locks are held across it, and the child's copies are marked.

SQLite says that a connection must not be carried across a fork. The child never uses it, and since no transaction is
open at the fork, nothing that its copy does when it is freed can harm the parent's file.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Guarded(Protocol):
    """What has a lock to be held across a fork, and a mark for the child."""

    lock: threading.RLock
    forked: bool


class _Guards:
    """All that is guarded in this process."""

    def __init__(self) -> None:
        self.guarded: weakref.WeakSet[Guarded] = weakref.WeakSet()
        self.locked: list[Guarded] = []
        self.lock = threading.RLock()
        self.registered = False

    def before(self) -> None:
        self.lock.acquire()
        self.locked = sorted(self.guarded, key=id)
        for each in self.locked:
            each.lock.acquire()

    def after_in_parent(self) -> None:
        for each in self.locked:
            each.lock.release()
        self.locked = []
        self.lock.release()

    def after_in_child(self) -> None:
        for each in self.locked:
            each.forked = True
        self.after_in_parent()


_guards = _Guards()


def guard(guarded: Guarded) -> None:
    """Hold this lock across each fork from now on, as long as its owner lives."""
    with _guards.lock:
        _guards.guarded.add(guarded)
        if not _guards.registered and hasattr(os, "register_at_fork"):  # Windows does not fork
            os.register_at_fork(
                before=_guards.before,
                after_in_parent=_guards.after_in_parent,
                after_in_child=_guards.after_in_child,
            )
            _guards.registered = True
