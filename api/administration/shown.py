"""Users, their keys and hooks as JSON has them, in answers and for commands."""

from typing import Any

from domain import instants
from domain.access import User
from domain.api_keys import Key
from projections.queries.hooks import ListedHook


def user_json(user_id: str, user: User | None, last_used: dict[str, int | None]) -> dict[str, Any]:
    """Return a user as JSON has them."""
    return {
        "user": user_id,
        "linked_workspaces": sorted(user.linked_workspaces) if user else [],
        "current_workspace": user.current_workspace if user else None,
        "keys": [key_json(key, last_used.get(key.prefix)) for key in user.keys.values()] if user else [],
    }


def key_json(key: Key, last_used_at: int | None) -> dict[str, Any]:
    """Return what may be shown of a key as JSON has it."""
    return {
        "prefix": key.prefix,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": instants.format_instant(key.created_at),
        "expires_at": _instant(key.expires_at),
        "last_used_at": _instant(last_used_at),
    }


def history_json(events: list[User.Event]) -> list[dict[str, Any]]:
    """Return a user's events as JSON has them: when, by whose hand, what; nothing of a key's secret."""
    return [
        {
            "at": instants.format_instant(event.at),
            "by": event.by,
            "type": type(event).__name__,
            **_fields_of(event),
        }
        for event in events
    ]


def hook_json(hook: ListedHook) -> dict[str, Any]:
    """Return a hook as JSON has it; nothing of its token."""
    shown = hook._asdict()
    received = [
        {
            **each._asdict(),
            "first_at": instants.format_instant(each.first_at),
            "latest_at": instants.format_instant(each.latest_at),
        }
        for each in hook.received
    ]
    created_at = instants.format_instant(hook.created_at)
    shown |= {"secret": hook.secret or None, "created_at": created_at, "received": received}
    return {"id": shown.pop("hook_id"), **shown}


def _fields_of(event: User.Event) -> dict[str, Any]:
    match event:
        case User.WorkspaceLinked():
            return {"workspace_id": event.workspace_id, "current": event.current}
        case User.WorkspaceUnlinked() | User.WorkspaceSelected():
            return {"workspace_id": event.workspace_id}
        case User.KeyIssued():
            return {
                "prefix": event.prefix,
                "name": event.name,
                "scopes": event.scopes,
                "expires_at": _instant(event.expires_at),
            }
        case User.KeyRevoked():
            return {"prefix": event.prefix}
    return {}


def _instant(instant: int | None) -> str | None:
    return None if instant is None else instants.format_instant(instant)
