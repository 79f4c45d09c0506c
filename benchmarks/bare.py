"""The dashboard without authentication and access check: the same query of the workspace that anybody names."""

import falcon
from psycopg.sql import SQL

from api.answers.answering import Reading
from api.answers.dashboard import CampaignAnalytics
from api.answers.question import parse
from api.http.parameters import ONE_WORKSPACE, Query
from domain.citus import forms
from projections.queries import dashboard, standing
from projections.queries.standing import COLUMNS, OWN, STANDS, joined, standing_of
from projections.statements import Statement
from service.web import application as web
from service.web.application import Application

_EVERYBODY = SQL("""
WITH caller AS (
    SELECT 'anybody' AS user_id, NULL::text AS secret_sha256, NULL::text[] AS scopes, NULL::bigint AS expires_at
), seen AS (SELECT %(workspace_id)s::bigint AS workspace_id)
""")
_READ = forms(
    lambda here: dashboard._ANSWER.format(  # noqa: SLF001
        asked=standing._ASKED.format(seen=_EVERYBODY, stands=STANDS, joined=joined(here)),  # noqa: SLF001
        columns=COLUMNS,
        campaign=here("campaign"),
    )
)
_SENT = Statement("bare", _READ.plain)
_QUERY = Query(ONE_WORKSPACE)


class Bare(CampaignAnalytics):
    """Answers any request."""

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the campaigns of a workspace."""
        question = parse(request, _QUERY)
        cached = self._rendered_cache.cached((question.asked.workspace_id or 0,))
        values = {"workspace_id": question.asked.workspace_id, **dashboard.caching(cached), "most": None}
        rows = await self._parts.reads.rows(_SENT, values)
        workspaces = [
            dashboard._workspace(None, cached, each, *row[OWN:])  # noqa: SLF001
            for row in rows
            if (each := standing_of(row)) is not None
        ]
        self._tell(request, response, workspaces, cached, question)


def application() -> Application:
    """Return the service's application with the dashboard open to everybody beside the real one.

    No answer is sent again, so each costs what one costs whose numbers have changed.
    """
    made = web.application()
    made.answer.repeating = None
    made.answer.add_route("/api/v1/bare", Bare(Reading(made.parts)))
    return made
