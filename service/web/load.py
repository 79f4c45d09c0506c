"""How many connections each worker process has: by that new ones are shared among them."""

import mmap


class Load:
    """How many connections each worker process has, in memory that they share."""

    _SLOTS, _ABSENT = 256, 2**31 - 1

    def __init__(self) -> None:
        """Make the memory, before the processes are forked."""
        self._counts = memoryview(mmap.mmap(-1, self._SLOTS * 4)).cast("i")
        for slot in range(self._SLOTS):
            self._counts[slot] = self._ABSENT

    def set(self, age: int, connections: int) -> None:
        """Note how many connections the worker of this age (gunicorn's number of it) has."""
        self._counts[age % self._SLOTS] = connections

    def forget(self, age: int) -> None:
        """Count a worker that has ended no longer."""
        self._counts[age % self._SLOTS] = self._ABSENT

    def least(self) -> int:
        """Return how many connections the worker with the fewest has."""
        return min(self._counts)
