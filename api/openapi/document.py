"""The OpenAPI 3.1 document, put together of its parts."""

import re
from importlib.metadata import version

from api.auth.authentication import COOKIE, HEADER
from api.http.headers import REQUEST_ID
from api.openapi.access import access
from api.openapi.components import schemas
from api.openapi.hooks import hooks
from api.openapi.reading import reading
from api.openapi.vocabulary import TEXT, Json
from api.openapi.writing import writing


def document() -> Json:
    """Return the OpenAPI document; its paths are also taken without the slash at the end."""
    paths = reading() | access() | hooks() | _health()
    paths["/api/v1/events/"]["post"] = writing()
    for path, operations in paths.items():
        for method, operation in operations.items():
            operation["operationId"] = _operation_id(method, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "campaign-analytics",
            "version": version("campaign-analytics"),
            "description": "Tells a sales team, exactly and at once, how its outreach is doing. "
            f"Every answer carries {REQUEST_ID}. An unknown parameter is a 400 that names it.",
        },
        "security": [{"key": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": HEADER, "description": "`<prefix>.<secret>`"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "a session; only reads"},
            },
        },
    }


def _health() -> Json:
    def open_to_all(text: str, content: Json, problem: Json | None = None) -> Json:
        responses: Json = {"200": {"description": text, "content": content}, **(problem or {})}
        return {"get": {"tags": ["Health"], "summary": text, "security": [], "responses": responses}}

    json = {"application/json": {"schema": {"type": "object"}}}
    away = {"503": {"description": "the database does not answer, or is of another version", "content": json}}
    return {
        "/healthz": open_to_all("the process lives", json),
        "/readyz": open_to_all("the database answers, and is of this version", json, away),
        "/metrics": open_to_all("measurements for Prometheus", {"text/plain": {"schema": TEXT}}),
    }


def _operation_id(method: str, path: str) -> str:
    """Return a readable name for generated clients, such as `getCampaignAnalyticsSummary`."""
    words = [re.sub(r"\{(\w+)\}", r"by-\1", part) for part in path.strip("/").split("/")]
    named = "-".join(word for word in words if word not in ("api", "v1", "dashboard"))
    return method + "".join(word.capitalize() for word in re.split(r"[-_.]", named))
