"""Keeps tests that start or kill processes apart from all others, which are what `make test-fast` runs."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

MARKER = "processes"
_STARTS_OR_KILLS: tuple[tuple[Any, str], ...] = (
    (subprocess.Popen, "__init__"),
    (BaseProcess, "start"),
    (os, "fork"),
    (os, "kill"),
    (os, "killpg"),
)


class Guard:
    """Fails a test that starts or kills a process without the marker that says so."""

    def __init__(self) -> None:
        """Refuse nothing yet."""
        self._refuses = False

    @contextmanager
    def during(self, item: pytest.Item) -> Iterator[None]:
        """Refuse processes to a test without the marker."""
        self._refuses = item.get_closest_marker(MARKER) is None
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in _STARTS_OR_KILLS:
                patch.setattr(owner, name, self._guarded(getattr(owner, name)))
            yield

    @contextmanager
    def open(self) -> Iterator[None]:
        """Allow processes to a fixture that all tests share, whichever of them comes first or last."""
        refused, self._refuses = self._refuses, False
        try:
            yield
        finally:
            self._refuses = refused

    def _guarded(self, original: Any) -> Any:
        def guarded(*args: Any, **options: Any) -> Any:
            assert not self._refuses, f"a test that starts or kills a process needs @pytest.mark.{MARKER}"
            return original(*args, **options)

        return guarded
