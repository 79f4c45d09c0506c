"""Rebuild, by itself, what an older version of the fold has made or what a log that went back has left behind."""

import logging
from threading import Event

from psycopg import Error, OperationalError
from psycopg.sql import SQL, Literal
from psycopg_pool import PoolClosed

from domain.recorder import Pool
from projections.building import epochs, generations
from projections.building.batch import FoldError
from projections.building.generations import SupersededError
from projections.building.replay import replay
from projections.building.replay_by_parts import NoRoomError
from projections.marks import WentBackError
from projections.metrics import FOLD_VERSION
from projections.trouble import Trouble

POLL_SECONDS = 5.0  # between two polls for workspaces of an older version of the fold, and for rows to be swept
RETRY_SECONDS = 60.0  # a workspace that can't be rebuilt is tried again

logger = logging.getLogger(__name__)

_TO_REBUILD = SQL("""
SELECT p.workspace_id FROM projection AS p LEFT JOIN log_head AS h USING (workspace_id)
WHERE (p.fold_version < {version} OR p.lost_at IS NOT NULL AND p.fold_version = {version})
    AND p.workspace_id <> ALL(%s::bigint[]) AND NOT EXISTS (
    SELECT FROM spare_generation AS s WHERE s.workspace_id = p.workspace_id AND s.leased_until > clock_timestamp()
)
ORDER BY h.head LIMIT 1
""").format(version=Literal(FOLD_VERSION))


def keep_current(pool: Pool, stop: Event) -> None:
    """Rebuild workspaces of an older version of the fold, or whose log went back, and sweep, until `stop` is set.

    The smallest come first, those of a newer version are left alone. Runs in a thread of its own beside the projector.
    What the database refuses is retried, and so is, later, a workspace that can't be rebuilt for whatever reason.
    """
    waiting = Trouble(logger, "rebuilding waits for the database", "rebuilding goes on")
    failed: list[int] = []
    waited = 0.0
    while not stop.is_set():
        try:
            epochs.notice(pool)
            with pool.connection() as database:
                next_one = database.execute(_TO_REBUILD, (failed,)).fetchone()
            waiting.over()
            if next_one is None:
                generations.sweep(pool)
            else:
                _rebuild(pool, next_one[0], failed, stop)
                continue
        except PoolClosed:
            raise
        except Error as error:
            if error.sqlstate is not None:  # else it is away, which is logged where connections are made
                waiting.met(error)
        stop.wait(POLL_SECONDS)
        waited += POLL_SECONDS
        if waited >= RETRY_SECONDS:
            failed, waited = [], 0.0


class _StoppedError(Exception):
    """The program is to end."""


def _rebuild(pool: Pool, workspace_id: int, failed: list[int], stop: Event) -> None:
    def go_on(_: int) -> None:
        if stop.is_set():
            raise _StoppedError

    try:
        position = replay(pool, workspace_id, go_on)
    except _StoppedError:
        logger.info("rebuilding workspace %s was interrupted; it is begun again at the next start", workspace_id)
    except (FoldError, NoRoomError) as error:
        if isinstance(error, NoRoomError) or not _begin_again(pool, workspace_id, error):
            logger.error(  # noqa: TRY400 (it is no bug of ours, and the event is named)
                "workspace %s could not be rebuilt and keeps its old rows: %s", workspace_id, error
            )
            failed.append(workspace_id)
    except (SupersededError, WentBackError) as error:
        logger.warning("workspace %s is to be rebuilt again: %s", workspace_id, error)
    except OperationalError:
        raise
    except Exception:
        logger.exception("workspace %s could not be rebuilt and keeps its old rows", workspace_id)
        failed.append(workspace_id)
    else:
        logger.info("workspace %s was rebuilt up to position %s", workspace_id, position)


def _begin_again(pool: Pool, workspace_id: int, error: FoldError) -> bool:
    """Let a lost workspace be projected anew, as far as it can be, where it can't be rebuilt as a whole."""
    with pool.connection() as database:
        lost = generations.begin_again(database, workspace_id)
    if lost:
        logger.warning("workspace %s can't be rebuilt as a whole, and is projected anew: %s", workspace_id, error)
    return lost
