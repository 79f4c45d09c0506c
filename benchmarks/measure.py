"""Measures a limit and the product in turns, and prints the ratio with its spread."""

import time
from collections.abc import Callable
from statistics import median

ROUNDS = 7


def rate(work: Callable[[], int]) -> float:
    """Return how many things a second the work does; it returns how many it did."""
    started = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - started)


def compare(
    what: str, limit: Callable[[], float], product: Callable[[], float], goal: float | None, rounds: int = ROUNDS
) -> None:
    """Take both rates in turns, and print their medians, the ratio's median and spread, and the goal."""
    report(what, [(limit(), product()) for _ in range(rounds)], goal)


def report(what: str, pairs: list[tuple[float, float]], goal: float | None) -> None:
    """Print what `compare` prints of rates that were taken in turns, the limit's first."""
    limits, products = (median(side) for side in zip(*pairs, strict=True))
    print(
        f"{what:<50} {products:>10,.0f}/s  limit {limits:>10,.0f}/s  ratio {_ratio(pairs)}"
        + (f", goal {goal}" if goal else ""),
        flush=True,
    )


def report_waits(what: str, pairs: list[tuple[float, float]], goal: float) -> None:
    """Print the same of seconds that were waited in turns, the undisturbed first; less is better."""
    limits, products = (1_000 * median(side) for side in zip(*pairs, strict=True))
    print(
        f"{what:<50} {products:>8,.1f} ms  undisturbed {limits:>6,.1f} ms  ratio {_ratio(pairs)}, goal at most {goal}",
        flush=True,
    )


def spread(ratios: list[float]) -> str:
    """Return the median, and in brackets the least and the greatest."""
    return f"{median(ratios):6.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def _ratio(pairs: list[tuple[float, float]]) -> str:
    return spread([ours / theirs for theirs, ours in pairs])
