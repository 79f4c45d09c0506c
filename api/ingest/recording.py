"""What is the same for each post, however it is read: the workspace it names, and what is noted of what is stored."""

from collections import Counter
from dataclasses import replace
from functools import lru_cache

from api.dependencies import Parts
from api.errors import UnavailableError
from api.http.parameters import ONE_WORKSPACE, Query
from api.ingest import intake
from api.ingest.receipt import Rejected, Tally
from domain.ledger import Outcome, Recorded
from projections.queries import rejections
from projections.queries.caller import Asked

NAMED_WORKSPACE = replace(ONE_WORKSPACE, text="the workspace, which a post names", required=True)
POST = Query(NAMED_WORKSPACE)


@lru_cache(maxsize=1_000)  # workers post to the same workspaces again and again; a request line is at most 8 kB
def asked_of(query: str) -> Asked:
    """Return the workspace, which a post names: a current one that has changed would be the wrong log for ever.

    Raises BadRequestError.
    """
    return POST.read(query)[NAMED_WORKSPACE]


def too_many_wait() -> UnavailableError:
    """Return the answer to a post that would wait too long for others."""
    return UnavailableError("Too many posts to this workspace wait, please try again")


def finish(parts: Parts, workspace_id: int, tally: Tally, taken: intake.Intake, recorded: Recorded) -> None:
    """Store the rejections of a part, and count it; in a thread, unless nothing was refused."""
    refused, codes = taken.with_conflicts(recorded.outcomes), dict[str, int]()
    if refused:
        with parts.connection() as database:
            rejections.keep(database, workspace_id, [each.rejection for each in refused])
        codes = Counter(each.rejection.code for each in refused)
    accepted, duplicates = (recorded.outcomes.count(each) for each in (Outcome.ACCEPTED, Outcome.DUPLICATE))
    parts.measurements.recorded(accepted, duplicates, codes)
    tally.add(accepted, duplicates, [_rejected(each) for each in refused], recorded.position)


def _rejected(refused: intake.Refused) -> Rejected:
    why, errors = refused.rejection, refused.errors
    return Rejected(refused.place, why.id, why.code, why.error, errors if len(errors) > 1 else None, refused.line)
