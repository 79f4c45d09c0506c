"""Shows the commands that connect tools, and the back-fill of what their APIs list."""

import io
import json
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from connectors.providers import PROVIDERS
from domain.recorder import Pool
from tests.connectors.cases import examples_of
from tests.support.commands import Command
from tests.support.hooks import add_hook, connected, deliver, path_of
from tests.support.stored_events import log

URL = re.compile(r"(http\S+)/api/v1/hooks/smartlead/([A-Za-z0-9_-]{43})\n")
SENT = {
    "event_type": "EMAIL_SENT",
    "campaign_id": 1,
    "sl_lead_email": "jane@example.com",
    "event_timestamp": "2026-03-02T10:00:00Z",
    "stats_id": "s",
}


def test_a_hook_is_added_listed_and_revoked(command: Command, client: testing.TestClient) -> None:
    """`add` prints the URL alone; the list says what has come in; revoked, it is gone from both."""
    result = command("hooks", "add", "340", "smartlead", "--base-url", "https://numbers.example.com/")
    url = URL.fullmatch(result.out)
    assert (result.code, url is not None) == (0, True), result
    assert url is not None
    assert url[1] == "https://numbers.example.com"
    assert url[2] not in result.err
    (listed,) = json.loads(command("hooks", "list", "--json").out)["hooks"]
    assert (listed["workspace_id"], listed["provider"], listed["received"]) == (340, "smartlead", [])
    assert listed["created_by"].startswith("cli:")
    for body in (SENT, SENT, {"event_type": "X"}):
        deliver(client, "smartlead", url[2], body)
    (listed,) = json.loads(command("hooks", "list", "--json").out)["hooks"]
    counted = [(each["name"], each["outcome"], each["reason"], each["number"]) for each in listed["received"]]
    assert counted == [
        ("EMAIL_SENT", "accepted", "", 1),
        ("EMAIL_SENT", "duplicate", "", 1),
        ("X", "ignored", "unknown event", 1),
    ]
    table = command("hooks", "list").out.splitlines()
    assert table[0].split() == [
        "hook",
        "workspace",
        "provider",
        "what",
        "outcome",
        "reason",
        "number",
        "first",
        "latest",
    ]
    assert [line.split()[0] for line in table[1:]] == [listed["id"], "EMAIL_SENT", "EMAIL_SENT", "X"]
    for _ in range(2):
        assert command("hooks", "revoke", listed["id"]) == (0, "", f"hook {listed['id']} is revoked\n")
    assert deliver(client, "smartlead", url[2], SENT).status_code == 401
    assert json.loads(command("hooks", "list", "--json").out) == {"hooks": []}


def test_without_a_base_url_it_is_this_machine(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As HOST and PORT say; and a word that no tool will reach that."""
    monkeypatch.setenv("PORT", "8123")
    result = command("hooks", "add", "340", "smartlead")
    assert result.out.startswith("http://127.0.0.1:8123/api/v1/hooks/smartlead/")
    assert "--base-url" in result.err
    assert "workspace 340 is linked to nobody" in result.err


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("add", "340", "smartled"), 2, "invalid choice"),
        (("add", "0", "smartlead"), 2, "expected a number from 1"),
        (("add", "340", "smartlead", "--base-url", "example.com"), 2, "expected a URL"),
        (("add", "340", "smartlead", "--label", "hot"), 2, "expected LABEL=MEANING"),
        (("add", "340", "smartlead", "--label", "hot=good"), 2, "expected LABEL=MEANING"),
        (("add", "340", "smartlead", "--label", "a=nothing", "--label", "a=nothing"), 2, "expected each label once"),
        (("add", "340", "smartlead", "--label", "a=nothing", "--label", "A=nothing"), 2, "labels: expected each label"),
        (("add", "340", "smartlead", "--secret", "s3cret"), 2, "secret: expected a reference"),
        (("add", "340", "heyreach", "--secret", "env:X"), 2, "heyreach signs nothing"),
        (("revoke", "hk_0"), 1, "there is no such hook"),
        (("test", "hk_0"), 1, "there is no such hook, or it is revoked"),
    ],
)
def test_a_mistake_is_named(command: Command, arguments: tuple[str, ...], code: int, text: str) -> None:
    result = command("hooks", *arguments)
    assert (result.code, text in result.err) == (code, True), result
    assert "s3cret" not in result.err


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_a_made_up_delivery_is_understood(command: Command, pool: Pool, provider: str) -> None:
    """By the hook's own terms; nothing is stored, and a secret that can't be read here is a warning."""
    secret = "env:NOWHERE" if PROVIDERS[provider].signature else ""
    hook = add_hook(pool, provider, secret=secret)
    result = command("hooks", "test", hook.hook_id)
    answer = json.loads(result.out)
    assert (result.code, answer["accepted"] >= 1, answer["rejected"]) == (0, True, 0)
    assert ("env:NOWHERE can't be read here" in result.err) == bool(secret)
    assert log(pool) == []


class _Tool(BaseHTTPRequestHandler):
    """Passes what it is sent on to the application, as a proxy does."""

    def do_POST(self) -> None:
        client: testing.TestClient = self.server.client  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = client.simulate_post(self.path, body=body, headers=dict(self.headers))
        self.send_response(answer.status_code)
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(client: testing.TestClient) -> Iterator[str]:
    """Give where the application is reached over HTTP."""
    server = HTTPServer(("127.0.0.1", 0), _Tool)
    server.client = client  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_made_up_delivery_is_sent_to_the_hooks_own_url(
    command: Command, pool: Pool, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which standard input gives, as an argument would stand in the list of processes."""
    hook = add_hook(pool, "smartlead")

    def sent_to(url: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{url}\n"))
        result = command("hooks", "test", hook.hook_id, "--send")
        return result.code, result.out, result.err

    code, out, _ = sent_to(address + path_of("smartlead", hook.token))
    assert (code, json.loads(out)) == (0, {"accepted": 2, "duplicates": 0, "ignored": 0, "rejected": 0})
    code, _, err = sent_to(address + path_of("smartlead", "wrong"))
    assert (code, '401: {"error": "Invalid hook"}' in err) == (1, True)
    assert "standard input: expected the URL" in sent_to("nonsense")[2]
    connected(pool).revoke(hook.hook_id, "cli:test")
    assert log(pool) == []


ACCOUNTS = {"instantly": "ws-1", "lemlist": "tea_1", "reply.io": "8"}


def listed(name: str) -> list[Any]:
    """Return the deliveries of the examples as the tool's API lists them."""
    rows = [each.body for each in examples_of(name) if isinstance(each.body, dict)]
    return [{"payload": row} if name == "instantly" else row for row in rows]


@pytest.mark.parametrize("name", sorted(ACCOUNTS))
def test_a_back_fill_finds_what_the_hook_has_stored(
    command: Command, client: testing.TestClient, pool: Pool, tmp_path: Path, name: str
) -> None:
    """Under the same ids, and by the hook's own terms: all duplicates, and what the hook has missed is added."""
    hook = add_hook(pool, name, prospects="plain", own_campaign_ids=True)
    rows = listed(name)
    for row in rows:
        deliver(client, name, hook.token, row["payload"] if name == "instantly" else row)
    stored = log(pool)
    assert stored
    file = tmp_path / "export.json"
    file.write_text(json.dumps({"items": rows} if name == "instantly" else rows))
    arguments = ("import", str(file), "--workspace", "340", "--from", f"{name}/{ACCOUNTS[name]}", "--json")
    result = command(*arguments)
    counts = json.loads(result.out)
    assert (counts["accepted"], counts["duplicates"] >= len(stored)) == (0, True)
    assert log(pool) == stored
    assert counts["ignored"] >= 1
    assert "ignored: " in result.err
    assert command(*arguments[:3], "341", *arguments[4:], "--create").err.count(" accepted") == 1
    assert len(log(pool, 341)) == len(stored)


@pytest.mark.parametrize(
    ("source", "text", "error"),
    [
        ("smartlead", "[]", "smartlead has no export"),
        ("instantly", "no JSON", "expected JSON"),
        ("lemlist", json.dumps([{"type": "emailsSent"}]), "the export doesn't name it"),
    ],
)
def test_what_is_no_export_is_named(  # noqa: PLR0913 (fixtures, and a row)
    command: Command, pool: Pool, tmp_path: Path, source: str, text: str, error: str
) -> None:
    """Before anything is stored."""
    file = tmp_path / "export.json"
    file.write_text(text)
    result = command("import", str(file), "--workspace", "340", "--create", "--from", source)
    assert (result.code, error in result.err) == (2, True), result
    assert command("import", str(file), "--workspace", "340", "--from", "x").code == 2
    assert log(pool) == []


def test_an_import_needs_the_hook_where_several_differ(command: Command, pool: Pool, tmp_path: Path) -> None:
    """One and the same person must not be two."""
    first, second = add_hook(pool, "lemlist"), add_hook(pool, "lemlist", own_campaign_ids=True)
    file = tmp_path / "export.json"
    file.write_text("[]")
    arguments = ("import", str(file), "--workspace", "340", "--create", "--from", "lemlist")
    result = command(*arguments)
    assert (result.code, first.hook_id in result.err, second.hook_id in result.err) == (2, True, True)
    assert command(*arguments, "--hook", first.hook_id).code == 0
    assert "hk_0 is no hook of lemlist" in command(*arguments, "--hook", "hk_0").err


def test_an_unreadable_row_of_an_export_is_rejected(command: Command, pool: Pool, tmp_path: Path) -> None:
    """By its name and why, and it is among the rejections."""
    file = tmp_path / "export.json"
    row = {"type": "emailsSent", "teamId": "t", "_id": "1", "campaignId": "c", "leadId": "l", "createdAt": "yesterday"}
    file.write_text(json.dumps([row]))
    result = command("import", str(file), "--workspace", "340", "--create", "--from", "lemlist", "--json")
    assert (result.code, json.loads(result.out)["rejected"]) == (1, 1)
    assert "1 rejected: emailsSent: createdAt: expected a time with an offset" in result.err
    with pool.connection() as database:
        rejected = database.execute("SELECT code, source FROM rejected_event").fetchall()
    assert rejected == [("malformed", "lemlist")]
