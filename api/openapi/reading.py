"""The part of the OpenAPI document about reading: the questions, the log, and the bodies of their answers."""

from typing import Any

import msgspec

from api.answers import changes, feed, me, prospects, rejections, stream
from api.answers.endpoints import ENDPOINTS
from api.http.parameters import NOTHING
from api.openapi.vocabulary import (
    COUNT,
    ID,
    INSTANT,
    READING,
    TEXT,
    WORD,
    Json,
    list_of,
    object_of,
    or_null,
    problems,
    read,
)


def reading() -> Json:
    """Return the paths of all that is read, by what can be asked of them."""
    bodies, _ = answers()
    event = {"position": ID, "recorded_at": INSTANT, "error": TEXT}
    campaign = {"name": "campaign_id", "in": "path", "required": True, "schema": ID}
    paths = {
        path: read(
            endpoint.summary,
            endpoint.parameters,
            _any_of([bodies[each] for each in endpoint.answers]),
            *(["404"] if "{" in path else []),
            in_path=[campaign] if "{" in path else [],
            table=endpoint.table is not None,
        )
        for path, endpoint in ENDPOINTS.items()
    }
    return {
        **paths,
        "/api/v1/dashboard/campaign-analytics/changes/": read(
            "What the numbers of one position differ in from those of another",
            changes.CHANGES,
            bodies[changes.Changes],
        ),
        "/api/v1/me/": read("Who is calling, and which workspaces they may see", NOTHING, bodies[me.Identity]),
        "/api/v1/events/": read(
            "The log itself: keep `position` and `epoch`, give them as `after` and `epoch`, and nothing is missed or "
            "seen twice; 409 where the log went back",
            feed.FEED,
            object_of(
                {
                    "events": list_of(object_of(event, ("error",))),
                    "position": COUNT,
                    "head": COUNT,
                    "epoch": or_null({**WORD, "description": "null before the first event"}),
                }
            ),
            "409",
        ),
        "/api/v1/events/rejections/": read(
            "The latest events that were refused, newest first",
            rejections.REJECTIONS,
            bodies[rejections.RejectionList],
        ),
        "/api/v1/prospects/lookup/": read(
            "How a prospect is called that tools know by an e-mail address",
            prospects.LOOKUP,
            bodies[prospects.FoundProspect],
            "404",
        ),
        "/api/v1/dashboard/campaign-analytics/stream/": _stream(),
    }


def _stream() -> Json:
    text = "how far each asked workspace is, at once and when it moves: `event: position`; `event: end` is the last one"
    return {
        "get": {
            "tags": [READING],
            "summary": "How far the asked workspaces are, as they move, for as long as the caller may see them",
            "parameters": [parameter.described() for parameter in stream.STREAM.parameters],
            "responses": {
                "200": {"description": text, "content": {stream.MEDIA_EVENTS: {"schema": TEXT}}},
                **problems(),
            },
        }
    }


def answers() -> tuple[dict[Any, Json], Json]:
    """Return the schemas of the bodies of answers, by their types, and the parts that they refer to."""
    types: list[Any] = [each for endpoint in ENDPOINTS.values() for each in endpoint.answers]
    types += [changes.Changes, rejections.RejectionList, me.Identity, prospects.FoundProspect]
    schemas, parts = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return dict(zip(types, schemas, strict=True)), parts


def _any_of(schemas: list[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
