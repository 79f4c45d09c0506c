"""Lets only keys of scope `admin` through, for all that an admin does."""

import falcon

from api.dependencies import Parts
from api.errors import BadRequestError
from api.http.parameters import in_path, no_parameters, path_is_utf8
from domain.access import check_user
from domain.events import MAX_ID
from domain.refusals import BadFieldError
from projections.queries.caller import who

MAX_BODY_BYTES = 64 * 1024
NUMBER = f"expected a number from 1 to {MAX_ID}"
WORKSPACE_ID = "workspace_id"


def admit(
    parts: Parts, request: falcon.Request, response: falcon.Response, user: str = "-", workspace: str = "1"
) -> str:
    """Let only an admin key through; return by whose hand a change is made."""

    def check(request: falcon.Request) -> None:
        no_parameters(request)
        _check_path(request, user, workspace)

    parts.gate.enter(request, response, check, lambda database, credentials, _: who(database, credentials), "admin")
    return f"key:{request.context.key}"


def _check_path(request: falcon.Request, user: str, workspace: str) -> None:
    faults = []
    try:
        check_user(user)
    except BadFieldError as error:
        faults.append((error.field, error.expected))
    if not path_is_utf8(request):
        faults.append(("user", "expected UTF-8"))
    try:
        in_path("workspace", workspace)
    except BadRequestError as error:
        faults += error.faults
    if faults:
        raise BadRequestError(*faults)
