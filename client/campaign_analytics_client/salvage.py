"""Copies what can still be read of a damaged spool into a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, NamedTuple, TypeVar

from campaign_analytics_client.errors import SpoolDamagedError

if TYPE_CHECKING:
    from campaign_analytics_client.rows import DeadLetter
    from campaign_analytics_client.spool import Spool

T = TypeVar("T")


class Salvaged(NamedTuple):
    """How many events and dead letters were copied, and the numbers of which not all can be read, as first and last."""

    events: int
    dead: int
    lost: list[tuple[int, int]]


def salvage(spool: Spool, new: Spool) -> Salvaged:
    """Copy events in order, and dead letters, with one commit; an event that fails its checksum counts as lost.

    A damaged page spoils the look-ups that lead through it, and no others, so each number is looked up by itself, among
    the events and among the dead letters.
    A number that can't be read may as well be one that was sent before. Raises SpoolError.
    """
    bodies: list[bytes] = []
    letters: list[DeadLetter] = []
    lost: list[tuple[int, int]] = []
    for number in range(1, spool.last() + 1):
        row, row_is_readable = _looked_up(spool.event, number)
        letter, letter_is_readable = _looked_up(spool.letter, number)
        row_is_intact = row is None or row.intact
        if row is not None and row_is_intact:
            bodies.append(row.body)
        if letter is not None:
            letters.append(letter)
        if row_is_readable and letter_is_readable and row_is_intact:
            continue
        if lost and lost[-1][1] == number - 1:
            lost[-1] = (lost[-1][0], number)
        else:
            lost.append((number, number))
    new.bury(bodies, letters)
    return Salvaged(len(bodies), len(letters), lost)


def _looked_up(look: Callable[[int], T | None], number: int) -> tuple[T | None, bool]:
    """Return what is kept under a number, and whether that can be read."""
    try:
        return look(number), True
    except SpoolDamagedError:
        return None, False
