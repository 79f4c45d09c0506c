"""`GET …/campaign-analytics/stream/`: how far the asked workspaces are, as they move (WHATWG HTML, section 9.2)."""

import falcon

from api.dependencies import Parts
from api.http.parameters import WORKSPACE, Query
from projections.queries.watching import Watched

STREAM = Query(WORKSPACE)
MEDIA_EVENTS = "text/event-stream"


class StreamResource:
    """Answers with a stream that ends when access has gone."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Begin a stream, on the event loop."""
        visit, asked = await self._parts.gate.visit(
            request, response, lambda request: STREAM.read(request.query_string)[WORKSPACE]
        )
        visit.about(asked)
        stream = await self._parts.streams.open(visit, Watched(visit.credentials, asked))
        response.content_type = MEDIA_EVENTS
        response.set_header("X-Accel-Buffering", "no")  # nginx would hold messages back
        if request.method != "HEAD":
            response.stream = stream  # type: ignore[assignment]  # asynchronous, as ASGI requires
