"""The dashboard without authentication and access check: the same query of the workspace that anybody names."""

import falcon
from psycopg.sql import SQL, Literal

from api.app import create_app
from api.dashboard import CampaignAnalytics
from api.parameters import WORKSPACE, asked, query
from api.question import Question
from api.reading import Reading
from projections import campaign_analytics
from projections.metrics import FOLD_VERSION
from service import web
from service.web import Application

_EVERYBODY = SQL("""
WITH caller AS (
    SELECT 'anybody' AS user_id, NULL::text AS secret_sha256, NULL::text[] AS scopes, NULL::bigint AS expires_at
), seen AS (SELECT %(workspace_id)s::bigint AS workspace_id)
""")
_READ = campaign_analytics._ANSWER.format(seen=_EVERYBODY, version=Literal(FOLD_VERSION)).as_bytes()  # noqa: SLF001


class Bare(CampaignAnalytics):
    """Answers whoever asks."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the campaigns of a workspace."""
        wanted = asked(query(request, (WORKSPACE,)), every=False)
        held = self._kept.held((wanted.workspace_id or 0,))
        parameters = {"workspace_id": wanted.workspace_id, **campaign_analytics.holding(held)}
        with self._parts.connection() as database, database.cursor(binary=True) as cursor:
            rows = cursor.execute(_READ, parameters).fetchall()
        workspaces = [campaign_analytics._workspace(database, held, *row[4:]) for row in rows]  # noqa: SLF001
        self._answer(request, response, workspaces, held, Question(wanted))


def application() -> Application:
    """Return the service's application with the dashboard open to everybody."""
    made = web.application()
    app = create_app(made.parts)
    app.add_route("/api/v1/bare", Bare(Reading(made.parts)))
    return Application(app, None, made.parts, made.hints)  # each asks by itself, so that alike is compared
