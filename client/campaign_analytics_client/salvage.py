"""Copies what can still be read of a damaged spool into a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from campaign_analytics_client.errors import SpoolDamagedError

if TYPE_CHECKING:
    from campaign_analytics_client.rows import DeadLetter
    from campaign_analytics_client.spool import Spool


class Salvaged(NamedTuple):
    """How many events and dead letters were copied, and the numbers that can't be read, as first and last."""

    events: int
    dead: int
    lost: list[tuple[int, int]]


def salvage(spool: Spool, new: Spool) -> Salvaged:
    """Copy events in order, and dead letters, with one commit; an event that fails its checksum counts as lost.

    A damaged page spoils the look-ups that lead through it, and no others, so each number is looked up by itself.
    A number that can't be read may as well be one that was sent before. Raises SpoolError.
    """
    bodies: list[bytes] = []
    letters: list[DeadLetter] = []
    lost: list[tuple[int, int]] = []
    for number in range(1, spool.last() + 1):
        try:
            row, letter = spool.event(number), spool.letter(number)
            readable = row is None or row.intact
        except SpoolDamagedError:
            readable = False
        if not readable:
            if lost and lost[-1][1] == number - 1:
                lost[-1] = (lost[-1][0], number)
            else:
                lost.append((number, number))
            continue
        if row is not None:
            bodies.append(row.body)
        if letter is not None:
            letters.append(letter)
    new.bury(bodies, letters)
    return Salvaged(len(bodies), len(letters), lost)
