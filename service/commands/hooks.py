"""The commands `campaign-analytics hooks …`: which tools may post to which workspace, and what has come in."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from api.administration.shown import hook_json
from api.tools import KNOWN, TEST, hook_url
from connectors.made_up import MadeUp, made_up
from connectors.providers import PROVIDERS
from domain.hooks import PROSPECTS, Hooks, Terms
from domain.recorder import Pool
from projections import access
from projections.queries import hooks
from service import references
from service.clock import clock
from service.commands.terminal import (
    DONE,
    FAILED,
    MISUSED,
    Add,
    adder,
    by_operator,
    identifier,
    print_json,
    print_table,
    say,
)
from service.connect import chosen_pool
from service.settings import Settings

_SECONDS = 10.0  # a tool waits about so long, too


def add_commands(add: Add) -> None:
    """Teach the parser `hooks` and its commands."""
    add = adder(add("hooks", None, "connect the tools that teams use"))

    added = add("add", _add, "connect a tool, and print the URL to paste into it, this once", WORKSPACE=identifier)
    added.add_argument("PROVIDER", choices=sorted(PROVIDERS), help="%(choices)s")
    added.add_argument("--base-url", metavar="URL", type=_base, help="where the tool reaches us (http://HOST:PORT)")
    added.add_argument("--prospects", choices=PROSPECTS, default=PROSPECTS[0], help="how addresses enter the log")
    added.add_argument("--own-campaign-ids", action="store_true", help="the tool's integers are campaign_ids")
    added.add_argument("--secret", metavar="REF", default="", help="what it signs with: env:NAME or file:/path")
    added.add_argument(
        "--label",
        metavar="LABEL=MEANING",
        type=_label,
        action="append",
        default=[],
        help=f"what a label of the team's own means: {', '.join(KNOWN.meanings)}",
    )
    add("list", _list, "show all hooks, and what has come in").add_argument(
        "--json", action="store_true", help="as JSON"
    )
    add("revoke", _revoke, "revoke a hook, from the very next delivery on", ID=str)
    added = add("test", _test, "tell what a made-up delivery would become; nothing is stored", ID=str)
    added.add_argument("--send", action="store_true", help="post it to the hook's URL, which standard input gives")


def _add(arguments: argparse.Namespace, chosen: Settings) -> int:
    labels = dict(arguments.label)
    if len(labels) < len(arguments.label):
        return say("--label: expected each label once", MISUSED)
    terms = Terms(
        workspace_id=arguments.WORKSPACE,
        provider=arguments.PROVIDER,
        prospects=arguments.prospects,
        own_campaign_ids=arguments.own_campaign_ids,
        secret=arguments.secret,
        labels=labels,
    )
    with _hooks(chosen) as (connected, pool):
        added = connected.add(terms, by_operator())
        with pool.connection() as connection:
            if not access.is_linked(connection, terms.workspace_id):
                say(f"workspace {terms.workspace_id} is linked to nobody, so nobody sees its numbers yet", DONE)
    base = arguments.base_url or f"http://{chosen.host}:{chosen.port}"
    say(f"hook {added.hook_id}: paste this URL into the tool; it is not shown again", DONE)
    if arguments.base_url is None:
        say(f"--base-url: {base} is reached from this machine only; put the public address in its place", DONE)
    print(hook_url(base, terms.provider, added.token))  # noqa: T201 (data)
    return DONE


def _list(arguments: argparse.Namespace, chosen: Settings) -> int:
    with chosen_pool(chosen) as pool, pool.connection() as connection:
        listed = [hook_json(each) for each in hooks.listed(connection)]
    if arguments.json:
        return print_json({"hooks": listed})
    columns = ("name", "outcome", "reason", "number", "first_at", "latest_at")
    rows = []
    for hook in listed:
        rows.append((hook["id"], hook["workspace_id"], hook["provider"], "added", "", "", "", hook["created_at"], ""))
        rows += [("", "", "", *(each[column] for column in columns)) for each in hook["received"]]
        if hook["confirm_url"]:
            say(f"{hook['id']} waits until this is opened: {hook['confirm_url']}", DONE)
    return print_table(
        ("hook", "workspace", "provider", "what", "outcome", "reason", "number", "first", "latest"), rows
    )


def _revoke(arguments: argparse.Namespace, chosen: Settings) -> int:
    with _hooks(chosen) as (connected, _):
        connected.revoke(arguments.ID, by_operator())
    return say(f"hook {arguments.ID} is revoked", DONE)


def _test(arguments: argparse.Namespace, chosen: Settings) -> int:
    """Translate a made-up delivery: by the hook's own terms here, or by the running service at its URL."""
    with _hooks(chosen) as (_, pool), pool.connection() as connection:
        hook = hooks.by_id(connection, arguments.ID)
    if hook is None:
        return say("there is no such hook, or it is revoked", FAILED)
    table, now = PROVIDERS[hook.provider], clock()
    delivery = made_up(table, now)
    if hook.secret and references.secret_of(hook.secret, os.environ) is None:
        say(f"{hook.secret} can't be read here; where the service runs it must be, or deliveries get 503", DONE)
    if arguments.send:  # an argument would show the token in the list of processes
        say("the URL that `hooks add` has printed:", DONE)
        return _send(sys.stdin.readline().strip(), delivery)
    from api.ingest.deliveries import rehearsed  # noqa: PLC0415 (no other command needs what it takes long to import)

    effect = rehearsed(table, hook, delivery.body, delivery.headers, now)
    for (name, outcome, reason), number in effect.counts.items():
        say(f"{name}: {number} {outcome}{f', {reason}' if reason else ''}", DONE)
    return print_json(effect.answer())


def _send(url: str, delivery: MadeUp) -> int:
    """Post a delivery, and print what the service says it would become."""
    if urlsplit(url).scheme not in ("http", "https"):
        return say("standard input: expected the URL that `hooks add` has printed", FAILED)
    import urllib.error  # noqa: PLC0415 (as above)
    import urllib.request  # noqa: PLC0415

    headers = {**delivery.headers, "Content-Type": "application/json", TEST: "1"}
    request = urllib.request.Request(url, delivery.body, headers)  # noqa: S310 (its scheme was looked at)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            return print_json(json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return say(f"the service answers {error.code}: {error.read(1_000).decode(errors='replace')}", FAILED)
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        return say(f"the service can't be reached: {getattr(error, 'reason', error)}", FAILED)


@contextmanager
def _hooks(chosen: Settings) -> Iterator[tuple[Hooks, Pool]]:
    with chosen_pool(chosen) as pool:
        yield Hooks(pool, access.project_hooks, clock, KNOWN), pool


def _base(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError("expected a URL such as https://analytics.example.com")
    return text.rstrip("/")


def _label(text: str) -> tuple[str, str]:
    label, equals, meaning = text.rpartition("=")
    if not equals or meaning not in KNOWN.meanings:
        raise argparse.ArgumentTypeError(f"expected LABEL=MEANING, with one of {', '.join(KNOWN.meanings)}")
    return label, meaning
