"""The counters of the processes of one tree, in shared memory: no file, so a full disk does not matter.

Each process writes to a slot of its own, without a lock between processes. The counts of an ended worker are
added to a common slot by the process that started it.
"""

import mmap
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from struct import Struct
from threading import Lock
from typing import Self

MEMORY = "CAMPAIGN_ANALYTICS_COUNTS"  # the variable with the number of the inherited file descriptor
SLOT = "CAMPAIGN_ANALYTICS_SLOT"  # the variable with the process's slot
SLOTS = 256
SLOT_BYTES = 256 * 1024  # some thousand series; what is not written takes no memory
SUPERVISOR, PROJECTOR, ENDED, FIRST_WORKER = range(4)  # the slots
LIVING = "~"  # begins the key of what ends with its process
LATEST = "="  # begins the key of what is so for the whole tree; the first number is when that was seen (monotonic)
_HEADER_BYTES = 16  # of a slot: the bytes in use; in the first one also the version, which is odd while slots change
_ENTRY = Struct("=II")  # the key's bytes, and how many numbers follow it
_NUMBER = 8
_TRIES, _PAUSE_SECONDS = 200, 0.0005  # of a reader, while slots change


class Counts:
    """The memory of one process, or of a tree whose first process hands the descriptor down."""

    def __init__(self, descriptor: int = -1, *, slots: int = SLOTS) -> None:
        """Take the descriptor of memory of `slots` slots; without one the memory is new and has no descriptor."""
        self.descriptor = descriptor
        self._memory = memoryview(mmap.mmap(descriptor, slots * SLOT_BYTES))
        self._version = self._memory[8:_HEADER_BYTES].cast("Q")
        self._slots = slots

    @classmethod
    def shared(cls) -> Self:
        """Return new memory with a descriptor, which is the caller's to hand down and to close.

        It is no file's, but where the system knows no other.
        """
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("campaign-analytics-counts")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, SLOTS * SLOT_BYTES)
        return cls(descriptor)

    @classmethod
    def inherited(cls, environment: Mapping[str, str]) -> Self | None:
        """Return the memory that the process tree shares; None where there is no tree."""
        descriptor = environment.get(MEMORY)
        return cls(int(descriptor)) if descriptor else None

    def slot(self, number: int) -> "Slot":
        """Return a slot, for the one process that writes to it."""
        begin = number * SLOT_BYTES
        return Slot(self._memory[begin : begin + SLOT_BYTES])

    def fold(self, number: int) -> None:
        """Add the counts of an ended worker to the total, and clear its slot; one process of a tree does that."""
        self._version[0] |= 1
        worker, ended = self.slot(number), self.slot(ENDED)
        for key, numbers in worker.read():
            if key.startswith(LATEST):
                ended.keep(key, numbers)
            elif not key.startswith(LIVING):
                place = ended.place(key, len(numbers))
                for offset, each in enumerate(numbers):
                    ended.add(place + offset, each)
        worker.clear()
        self._version[0] += 1

    def slots(self) -> Iterator[tuple[int, "Slot"]]:
        """Yield all slots with their numbers."""
        for number in range(self._slots):
            yield number, self.slot(number)

    def totals(self) -> dict[str, list[float]]:
        """Return the sums over all processes, by key; of what begins with `LATEST`, what was seen last."""
        for _ in range(_TRIES):
            version = self._version[0]
            totals = self._totals()
            if version == self._version[0] and not version & 1:
                break
            time.sleep(_PAUSE_SECONDS)
        return totals

    def _totals(self) -> dict[str, list[float]]:
        totals: dict[str, list[float]] = {}
        for _, slot in self.slots():
            for key, numbers in slot.read():
                before = totals.get(key)
                if before is None:
                    totals[key] = numbers
                elif key.startswith(LATEST):
                    totals[key] = max(before, numbers, key=itemgetter(0))
                else:
                    totals[key] = [one + more for one, more in zip(before, numbers, strict=True)]
        return totals


class Slot:
    """Numbers under keys: first the key, then its numbers, one entry after the other."""

    def __init__(self, memory: memoryview) -> None:
        """Take the memory, whose first bytes are the size in use."""
        self._memory = memory
        self._used = memory[:8].cast("Q")
        self._numbers = memory.cast("d")
        self._places: dict[str, int] | None = None  # read when they are first needed: a process before may have begun
        self._lock = Lock()

    def place(self, key: str, number: int = 1) -> int:
        """Return where the numbers of a key begin, at first 0. Where the slot is full, the numbers are not reported."""
        with self._lock:
            if self._places is None:
                self._places = {key: place for key, place, _ in self._entries()}
            place = self._places.get(key)
            if place is None:
                place = self._places[key] = self._new(key, number)
            return place

    def add(self, place: int, number: float) -> None:
        """Add to a number."""
        with self._lock:
            self._numbers[place] += number

    def set(self, place: int, number: float) -> None:
        """Set a number."""
        self._numbers[place] = number

    def keep(self, key: str, numbers: Sequence[float]) -> None:
        """Set the numbers of a key that begins with `LATEST`, unless later ones stand there."""
        place = self.place(key, len(numbers))
        if self._numbers[place] <= numbers[0]:
            for offset, each in enumerate(numbers):
                self._numbers[place + offset] = each

    def numbers(self, key: str) -> list[float] | None:
        """Return the numbers of a key; None where nothing was noted under it."""
        return next((numbers for each, numbers in self.read() if each == key), None)

    def read(self) -> Iterator[tuple[str, list[float]]]:
        """Yield each key with its numbers as they are now."""
        for key, place, number in self._entries():
            yield key, [float(each) for each in self._numbers[place : place + number]]

    def clear(self) -> None:
        """Clear all entries."""
        self._used[0] = 0
        self._places = {}

    def _entries(self) -> Iterator[tuple[str, int, int]]:
        at, end = _HEADER_BYTES, _HEADER_BYTES + self._used[0]
        while at < end:
            length, number = _ENTRY.unpack_from(self._memory, at)
            at += _ENTRY.size
            key = bytes(self._memory[at : at + length]).decode()
            at += _padded(length)
            yield key, at // _NUMBER, number
            at += number * _NUMBER

    def _new(self, key: str, number: int) -> int:
        name = key.encode()
        at = _HEADER_BYTES + self._used[0]
        first = at + _ENTRY.size + _padded(len(name))
        end = first + number * _NUMBER
        if end > len(self._memory) - number * _NUMBER:  # the rest is unused
            return len(self._memory) // _NUMBER - number
        _ENTRY.pack_into(self._memory, at, len(name), number)
        self._memory[at + _ENTRY.size : at + _ENTRY.size + len(name)] = name
        for place in range(first // _NUMBER, end // _NUMBER):
            self._numbers[place] = 0.0
        self._used[0] = end - _HEADER_BYTES  # last, so that concurrent readers see whole entries
        return first // _NUMBER


def _padded(length: int) -> int:
    return -(-length // _NUMBER) * _NUMBER
