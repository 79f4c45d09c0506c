"""The dashboard without authentication and access check: the same query of the workspace that anybody names."""

import falcon
from psycopg.sql import SQL, Literal

from api.dashboard import CampaignAnalytics
from api.parameters import WORKSPACE, asked, query
from api.question import Question
from api.reading import Reading
from projections import campaign_analytics
from projections.metrics import FOLD_VERSION
from projections.pipeline import Statement
from service import web
from service.web import Application

_EVERYBODY = SQL("""
WITH caller AS (
    SELECT 'anybody' AS user_id, NULL::text AS secret_sha256, NULL::text[] AS scopes, NULL::bigint AS expires_at
), seen AS (SELECT %(workspace_id)s::bigint AS workspace_id)
""")
_SENT = Statement(
    "bare",
    campaign_analytics._ANSWER.format(seen=_EVERYBODY, version=Literal(FOLD_VERSION)).as_bytes(),  # noqa: SLF001
)


class Bare(CampaignAnalytics):
    """Answers whoever asks."""

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the campaigns of a workspace."""
        wanted = asked(query(request, (WORKSPACE,)), every=False)
        held = self._kept.held((wanted.workspace_id or 0,))
        given = {"workspace_id": wanted.workspace_id, **campaign_analytics.holding(held), "most": None}
        rows = await self._parts.reads.rows(_SENT, given)
        workspaces = [campaign_analytics._workspace(None, held, *row[4:]) for row in rows]  # noqa: SLF001
        self._tell(request, response, workspaces, held, Question(wanted))


def application() -> Application:
    """Return the service's application with the dashboard open to everybody beside the real one."""
    made = web.application()
    made.answer.add_route("/api/v1/bare", Bare(Reading(made.parts)))
    return made
