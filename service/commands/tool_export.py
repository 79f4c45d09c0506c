"""What a tool's API has listed of the past, saved to a file, as `import --from` takes it: with the ids of the hook."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from api.ingest.deliveries import Effect, connection_of
from connectors.backfill import ExportError, backfill
from connectors.connection import Connection
from connectors.providers import PROVIDERS
from domain.recorder import Database
from projections import access
from projections.queries import hooks
from service.clock import clock


class UnusableError(Exception):
    """The file can't be read as an export of the tool, or it isn't clear how; the text says why."""


def provider(text: str) -> tuple[str, str]:
    """Return the tool, and its account or `""`, that an argument names; raise argparse's error for others."""
    name, _, tenant = text.partition("/")
    if name not in PROVIDERS:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(sorted(PROVIDERS))}")
    return name, tenant


def read(database: Database, arguments: argparse.Namespace, file: bytes) -> tuple[Sequence[object], Effect]:
    """Return the events of an export, and what of it becomes none; raise UnusableError."""
    name, tenant = arguments.provider
    terms = replace(_terms(database, arguments.workspace, name, arguments.hook), tenant=tenant)
    try:
        translation = backfill(PROVIDERS[name], file, terms)
    except ExportError as error:
        raise UnusableError(error) from error
    unused = Effect()
    unused.add_unused(translation, name, clock())
    return translation.events, unused


def _terms(database: Database, workspace_id: int, name: str, hook_id: str | None) -> Connection:
    """Return how a workspace understands a tool: as its hooks do, so that ids are the same, else as a new one would."""
    known = [hook for hook in hooks.of_workspace(database, workspace_id, name) if hook_id in (None, hook.hook_id)]
    if hook_id is not None and not known:
        raise UnusableError(f"{hook_id} is no hook of {name} in workspace {workspace_id}")
    terms = [connection_of(hook) for hook in known]
    if any(each != terms[0] for each in terms):
        raise UnusableError(f"the hooks of {name} differ, --hook names one: {', '.join(h.hook_id for h in known)}")
    if terms:
        return terms[0]
    access.make_prospect_key(database, workspace_id)
    key = hooks.prospect_key(database, workspace_id)
    assert key is not None  # it has been made
    return Connection(prospect_key=key)
