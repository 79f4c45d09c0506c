"""Shows that what processes count together is right, whoever ends, and needs no disk."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.counts import ENDED, FIRST_WORKER, LATEST, LIVING, SLOT_BYTES, SLOTS, Counts
from tests.support.databases import Databases
from tests.support.examples import api_key, email_sent
from tests.support.running import serving, users_of
from tests.support.samples import read_samples
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

KEYS = st.sampled_from(["requests\tGET\t/a\t200", "requests\tGET\t/b\t200", "seconds\tGET", "é", f"{LIVING}open"])


@pytest.fixture(scope="module")
def counts() -> Counts:
    """Give memory for many processes."""
    return Counts()


@given(st.lists(st.tuples(st.integers(FIRST_WORKER, FIRST_WORKER + 3), KEYS, st.integers(1, 9), st.booleans())))
def test_totals_are_the_sums_of_the_living_and_of_those_that_have_ended(
    steps: list[tuple[int, str, int, bool]],
) -> None:
    """But for what only a living process has; a slot is used again by the next one."""
    counts = Counts(slots=8)
    expected: dict[int, dict[str, float]] = {slot: {} for slot in range(8)}
    slots = {number: counts.slot(number) for number in range(8)}
    for slot, key, number, ends in steps:
        slots[slot].add(slots[slot].place(key, 2) + 1, number)
        expected[slot][key] = expected[slot].get(key, 0) + number
        if ends:
            counts.fold(slot)
            slots[slot] = counts.slot(slot)
            for each, value in expected[slot].items():
                if not each.startswith(LIVING):
                    expected[ENDED][each] = expected[ENDED].get(each, 0) + value
            expected[slot] = {}
    totals: dict[str, float] = {}
    for of_slot in expected.values():
        for key, value in of_slot.items():
            totals[key] = totals.get(key, 0) + value
    assert {key: numbers[1] for key, numbers in counts.totals().items()} == totals


def test_the_last_values_of_an_ended_process_stay() -> None:
    """Of the whole tree; an older sight of another process counts no more."""
    counts = Counts(slots=8)
    seen = f"{LATEST}lag"
    counts.slot(FIRST_WORKER).keep(seen, (20.0, 7))
    counts.slot(FIRST_WORKER + 1).keep(seen, (10.0, 9))
    assert counts.totals()[seen] == [20, 7]
    for slot in (FIRST_WORKER, FIRST_WORKER + 1):
        counts.fold(slot)
    assert counts.totals()[seen] == [20, 7]
    counts.slot(FIRST_WORKER).keep(seen, (30.0, 8))
    assert counts.totals()[seen] == [30, 8]


def test_a_process_that_goes_on_in_a_slot_goes_on_counting(counts: Counts) -> None:
    """A projector that is started again finds what the one before it has counted."""
    for _ in range(2):
        slot = counts.slot(1)
        slot.add(slot.place("folded"), 2)
    assert counts.totals()["folded"] == [4]


def open_descriptors() -> int:
    """Return how many descriptors this process has."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_a_process_alone_opens_no_descriptor() -> None:
    """However often an application is made in it; a tree's first process opens one, to hand it down."""
    before = open_descriptors()
    kept = [Counts(slots=1) for _ in range(50)]
    assert open_descriptors() == before
    assert {each.descriptor for each in kept} == {-1}
    shared = Counts.shared()
    shared.slot(1).add(shared.slot(1).place("folded"), 2)
    assert Counts(shared.descriptor).totals() == {"folded": [2]}
    os.close(shared.descriptor)


def test_a_slot_that_is_full_loses_counts_and_nothing_else(counts: Counts) -> None:
    """More series than there are is a defect, but no request fails of it."""
    slot = counts.slot(SLOTS - 1)
    for number in range(SLOT_BYTES // 20):
        slot.add(slot.place(f"a key of some length {number}"), 1)
    read = dict(slot.read())
    assert 1_000 < len(read) < SLOT_BYTES // 20
    assert all(numbers == [1] for numbers in read.values())


@pytest.fixture
def full_directory(tmp_path: Path) -> Iterator[Path]:
    """Give a directory on a file system without a free byte."""
    directory = tmp_path / "full"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(directory)], check=False)
    if mounted.returncode != 0:
        pytest.skip("a file system can't be mounted here")
    try:
        (directory / "filler").write_bytes(b"x" * (1 << 20))
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def test_a_full_temporary_directory_ends_no_worker(databases: Databases, full_directory: Path) -> None:
    """No request fails, everything is measured, and the counts of a killed worker stay."""
    with databases.lend() as url, users_of(url) as users:
        key = api_key(users, 340)
        with serving(url, WEB_CONCURRENCY="2", TMPDIR=str(full_directory)) as service:
            workers = {each.pid for each in service.workers()}
            for number in range(20):
                assert service.post(340, key, email_sent(number)).status == 200
            assert {each.pid for each in service.workers()} == workers

            def measured() -> dict[str, float]:
                return read_samples(service.request("GET", "/metrics").body.decode())

            accepted = 'campaign_analytics_events_total{outcome="accepted"}'
            memory = 'campaign_analytics_process_resident_memory_bytes{process="projector"}'
            wait_for(lambda: memory in measured())  # it may start after the workers
            metrics = measured()
            assert metrics[accepted] == 20
            assert metrics[memory] > 1_000_000
            assert metrics["campaign_analytics_projector_look_age_seconds"] < 5
            for pid in workers:
                os.kill(pid, 9)
            wait_for(lambda: len({each.pid for each in service.workers()} - workers) == 2 and service.is_ready())
            metrics = measured()
            assert metrics[accepted] == 20
            assert metrics['campaign_analytics_restarts_total{child="worker"}'] == 2
            projector = service.projector()
            assert projector is not None
            os.kill(projector.pid, 9)
            wait_for(lambda: measured()['campaign_analytics_restarts_total{child="projector"}'] == 1)
            assert "projector is started again" in service.output
            assert list(full_directory.iterdir()) == [full_directory / "filler"]
