"""The application: every route, and what happens around each request."""

import re
import time
import uuid
from typing import Any

import falcon

from api.dashboard import CampaignAnalytics
from api.errors import add_error_handlers
from api.events import Events
from api.health import Healthz, Metrics, Readyz
from api.measurements import Measurements
from api.parts import Parts

REQUEST_ID = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
NO_ROUTE = "none"


def create_app(parts: Parts) -> falcon.App[Any, Any]:
    """Return the WSGI application made of these parts; paths are taken with and without a slash at the end."""
    app = falcon.App(middleware=[_Around(parts.measurements)])
    app.req_options.strip_url_path_trailing_slash = True
    add_error_handlers(app)
    app.add_route("/api/v1/dashboard/campaign-analytics", CampaignAnalytics(parts))
    app.add_route("/api/v1/events", Events(parts))
    app.add_route("/healthz", Healthz())
    app.add_route("/readyz", Readyz(parts))
    app.add_route("/metrics", Metrics(parts))
    return app


class _Around:
    """Gives each request an id, and measures it."""

    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        given = request.get_header(REQUEST_ID) or ""
        request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        request.context.request_id = request_id
        request.context.started = time.perf_counter()
        response.set_header(REQUEST_ID, request_id)

    def process_response(self, request: falcon.Request, response: falcon.Response, _: object, __: object) -> None:
        seconds = time.perf_counter() - request.context.started
        method = request.method if request.method in falcon.HTTP_METHODS else "other"
        self._measurements.answered(method, request.uri_template or NO_ROUTE, response.status_code, seconds)
