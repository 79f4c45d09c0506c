"""The commands about the read models: `replay`, `set-aside` and `status`."""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from domain.recorder import Pool
from projections.building import comparison, generations, replay, set_aside, status, verification
from projections.building.batch import FoldError
from projections.building.replay import Failure
from projections.building.replay_by_parts import Workers
from projections.building.set_aside import SetAsideError
from projections.building.status import WorkspaceStatus
from service import database
from service.commands.terminal import (
    DONE,
    FAILED,
    MISUSED,
    Add,
    by_operator,
    identifier,
    position,
    print_json,
    print_table,
    say,
    show,
    words,
    workers,
)
from service.connect import chosen_pool
from service.processes.replay_workers import replay_workers
from service.settings import Settings, usable_cores

_LOST = "its log went back: the read models are rebuilt by a projector"


def add_commands(add: Add) -> None:
    """Teach the parser these commands."""
    added = add("replay", _replay, "rebuild the read models from the log while everything goes on")
    added.add_argument(
        "--workspace", metavar="ID", type=identifier, action="append", help="only this one; may be repeated"
    )
    added.add_argument(
        "--workers",
        metavar="N",
        type=workers,
        default=usable_cores(),
        help="processes (as many as cores that it may use)",
    )
    added.add_argument("--verify", action="store_true", help="change nothing, compare, print the differences")
    added.add_argument(
        "--summary",
        action="store_true",
        help="with --verify: what this version would change, also of an older one's rows, by campaign and metric",
    )
    added.add_argument("--json", action="store_true", help="a summary as JSON")
    added = add("set-aside", _set_aside, "go past an event that can't be folded")
    added.add_argument("--workspace", metavar="ID", type=identifier, required=True, help="whose log")
    added.add_argument("--position", metavar="N", type=position, required=True, help="where `status` says it is stuck")
    how = added.add_mutually_exclusive_group(required=True)
    how.add_argument("--reason", metavar="TEXT", type=words, help="why that is right; kept and shown")
    how.add_argument("--undo", action="store_true", help="take the event back in, and replay the workspace")
    added = add("status", _status, "show how far each workspace is projected, and what is stuck")
    added.add_argument("--json", action="store_true", help="as JSON")


def _replay(arguments: argparse.Namespace, chosen: Settings) -> int:
    if arguments.summary and not arguments.verify:
        return say("--summary: goes with --verify, which changes nothing", MISUSED)
    with (
        chosen_pool(chosen, database.BATCH_TIMEOUT) as pool,
        replay_workers(str(pool.conninfo), arguments.workers) as workers,
    ):
        heads = dict(replay.workspaces(pool))
        unknown = sorted(set(arguments.workspace or ()) - heads.keys())
        for each in unknown:
            say(f"workspace {each} has no log", FAILED)
        workspaces = [
            (each, head) for each, head in heads.items() if not arguments.workspace or each in arguments.workspace
        ]
        replay.require_room(workspaces)
        events = sum(head for _, head in workspaces)
        generations.sweep(pool)
        started = time.monotonic()
        failures: list[Failure] = []
        differences: list[str] = []
        with tqdm(total=events, unit=" events", unit_scale=True) as bar:
            if arguments.verify:
                compare = comparison.changes if arguments.summary else verification.verify
                _verify(pool, workspaces, bar, workers, failures, differences, compare)
            else:
                failures += replay.replay_all(pool, workspaces, bar.update, workers)
        seconds = time.monotonic() - started
        for failure in failures:
            say(
                f"workspace {failure.workspace_id} keeps its old rows: position {failure.position}: {failure.reason}", 1
            )
        generations.sweep(pool)
    rate = round(events / seconds)
    if arguments.json:
        summary = {
            "workspaces": len(workspaces),
            "events": events,
            "seconds": round(seconds, 3),
            "events_per_second": rate,
        }
        failed = [failure._asdict() for failure in failures]
        print_json({**summary, "unknown": unknown, "failed": failed, "differences": differences})
    else:
        for difference in differences:
            show(difference)
        done = "compared" if arguments.verify else "rebuilt"
        say(
            f"{done} {len(workspaces) - len(failures):,} workspaces, {events:,} events in {seconds:.1f} s ({rate:,}/s)",
            DONE,
        )
    return FAILED if unknown or failures or differences else DONE


def _verify(  # noqa: PLR0913 (what is compared, by which workers, and the results)
    pool: Pool,
    workspaces: Sequence[tuple[int, int]],
    bar: "tqdm[Any]",
    workers: Workers,
    failures: list[Failure],
    differences: list[str],
    compare: Callable[[Pool, int, replay.Progress, Workers], list[str]],
) -> None:
    for workspace_id, _ in workspaces:
        try:
            differences += compare(pool, workspace_id, bar.update, workers)
        except FoldError as error:
            failures.append(Failure(workspace_id, error.position, error.reason))


def _set_aside(arguments: argparse.Namespace, chosen: Settings) -> int:
    where = (arguments.workspace, arguments.position)
    if arguments.reason is not None and not arguments.reason.strip():
        return say("--reason: expected some words", MISUSED)
    with chosen_pool(chosen, database.BATCH_TIMEOUT) as pool:
        try:
            if not arguments.undo:
                with pool.connection() as connection:
                    folded = set_aside.put(connection, *where, reason=arguments.reason, by=by_operator())
                if folded:  # it was damaged only after it had been folded
                    replay.replay(pool, where[0], lambda _: None)
                return say(f"workspace {where[0]} goes on without position {where[1]}", DONE)
            with pool.connection() as connection:
                known = where[1] in set_aside.positions(connection, where[0])
            if not known:
                return say(f"position {where[1]} of workspace {where[0]} is not set aside", FAILED)
            replay.replay(pool, where[0], lambda _: None, taken_back=where[1])
        except (SetAsideError, FoldError) as error:
            return say(f"the numbers were not changed: {error}", FAILED)
        generations.sweep(pool)
    return say(f"workspace {where[0]} includes position {where[1]} again", DONE)


def _status(arguments: argparse.Namespace, chosen: Settings) -> int:
    with chosen_pool(chosen) as pool, pool.connection() as connection:
        workspaces = status.workspaces(connection)
        aside = set_aside.listed(connection)
        schema = database.schema_of(connection)
    if schema.fault:
        return say(schema.fault, FAILED)
    if schema.newer:
        say("degraded: the database is newer than this program, which goes on working with it", DONE)
    if arguments.json:
        return print_json({"workspaces": [_json(each, aside) for each in workspaces]})
    print_table(
        ("workspace", "head", "projected", "lag", "seconds", "events/s", "last replay", "stuck"),
        [
            (
                each.workspace_id,
                each.head,
                each.position,
                each.lag,
                round(each.lag_seconds),
                each.rate,
                each.replayed_at,
                _LOST
                if each.lost
                else each.stuck and f"at {each.stuck.position}, {each.stuck.topic}: {each.stuck.reason}",
            )
            for each in workspaces
        ],
    )
    for row in aside:
        say(
            f"set aside: workspace {row.workspace_id} position {row.position}, {row.topic} ({row.fault}),"
            f" by {row.by} at {row.at}: {row.reason}",
            DONE,
        )
    renewed = [each.epoch_since for each in workspaces if each.epoch_since is not None]
    if renewed:
        say(
            f"{len(renewed)} logs went back, or may have (restored, copied, taken over), the last at {max(renewed)}",
            DONE,
        )
    if any(each.stuck for each in workspaces):
        say(
            "A stuck workspace goes on by itself once its cause has gone: run the version that knows the event, restore"
            " a damaged event from a backup, `replay` where a row is damaged. Else `set-aside` goes past the event.",
            DONE,
        )
    return DONE


def _json(each: WorkspaceStatus, aside: Sequence[set_aside.SetAside]) -> dict[str, object]:
    return {
        "workspace_id": each.workspace_id,
        "head": each.head,
        "position": each.position,
        "lag": each.lag,
        "stuck": each.stuck and each.stuck._asdict(),
        "lag_seconds": round(each.lag_seconds, 3),
        "rate": each.rate,
        "replayed_at": each.replayed_at,
        "epoch": str(each.epoch),
        "epoch_since": each.epoch_since,
        "lost": each.lost,
        "set_aside": [
            {name: value for name, value in row._asdict().items() if name != "workspace_id"}
            for row in aside
            if row.workspace_id == each.workspace_id
        ],
    }
