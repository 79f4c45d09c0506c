"""Shows that wrong events can be corrected: retracted, rated anew, marked as automatic later."""

import json
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from domain import ledger
from domain.access import Access
from domain.events import encode
from domain.recorder import Pool
from projections.building import replay, verification
from tests.support.commands import Command
from tests.support.event_parsing import event_of, refusal
from tests.support.examples import api_key, email_sent, parsed
from tests.support.read_models import live_rows, project_all, stuck_at
from tests.support.stored_events import execute, record

BASE = "/api/v1/dashboard/campaign-analytics/"
POST = "/api/v1/events/"
AT = "2026-11-01T10:00:00Z"


def retraction(number: int, of: str, prospect: str | None = "p-1", **fields: Any) -> dict[str, Any]:
    """Return the retraction of an event of campaign 123, as a worker posts it."""
    about = {"id": f"r-{number}", "type": "EventRetracted", "campaign_id": 123, "occurred_at": AT}
    return {**about, "prospect_id": prospect, "retracts": {"id": of}, **fields}


class Caller:
    """Somebody who writes to and reads workspace 340, which is projected before each read."""

    def __init__(self, client: testing.TestClient, pool: Pool, users: Access) -> None:
        """Take what answers."""
        self._client = client
        self._pool = pool
        self._headers = api_key(users, 340)

    def post(self, *events: dict[str, Any], kind: str = "application/json") -> Any:
        """Post events, and return what is answered."""
        body = json.dumps(events) if kind == "application/json" else "\n".join(map(json.dumps, events))
        headers = {**self._headers, "Content-Type": kind}
        return self._client.simulate_post(POST, headers=headers, body=body, query_string="workspace_id=340").json

    def get(self, path: str, **query: Any) -> Any:
        """Return what is answered."""
        project_all(self._pool)
        answer = self._client.simulate_get(path, headers=self._headers, params={"workspace_id": 340, **query})
        return answer.json if answer.status_code == 200 else answer.status_code

    def numbers(self) -> dict[str, Any]:
        """Return the analytics of all campaigns as one."""
        analytics: dict[str, Any] = self.get(f"{BASE}summary/", include="extended")["analytics"]
        return analytics


@pytest.fixture
def caller(client: testing.TestClient, pool: Pool, users: Access) -> Caller:
    """Give a caller who may write and read."""
    return Caller(client, pool, users)


@pytest.mark.parametrize("first", [True, False])
def test_a_retracted_event_never_was(caller: Caller, pool: Pool, first: bool) -> None:  # noqa: FBT001 (which comes first)
    """Whether the retraction comes before it or after it, and however often."""
    sent, again = email_sent(1), email_sent(2, prospect_id="p-1", occurred_at="2026-11-02T10:00:00Z")
    back = retraction(1, "e-1")
    for each in (back, sent) if first else (sent, back):
        assert caller.post(each)["accepted"] == 1
        caller.numbers()
    assert caller.post(again, back, retraction(2, "e-1"))["duplicates"] == 1
    assert caller.numbers()["amount_of_emails_sent"] == 1
    query = {"metric": "amount_of_prospects_contacted"}
    [contribution] = caller.get(f"{BASE}123/explain/", **query)["contributions"]
    assert [each["id"] for each in contribution["events"]] == ["e-2"]
    assert caller.get(f"{BASE}timeseries/")["series"][0]["start"] == "2026-11-02T00:00:00+00:00"
    assert verification.verify(pool, 340, lambda _: None) == []


def test_a_retraction_takes_back_nothing_elsewhere(caller: Caller) -> None:
    """It changes nothing of another prospect, campaign or source, nor of the campaign itself."""
    caller.post(email_sent(1, source="w"))
    caller.post(
        retraction(1, "e-1"),
        retraction(2, "e-1", "p-2", retracts={"id": "e-1", "source": "w"}),
        retraction(3, "e-1", None, retracts={"id": "e-1", "source": "w"}),
        retraction(4, "e-1", campaign_id=124, retracts={"id": "e-1", "source": "w"}),
    )
    assert caller.numbers()["amount_of_emails_sent"] == 1
    assert [each["id"] for each in caller.get("/api/v1/campaigns/")["campaigns"]] == [123]
    caller.post(retraction(5, "e-1", retracts={"id": "e-1", "source": "w"}))
    assert caller.get(BASE)["campaigns"] == []


def test_a_campaign_is_named_by_what_is_left(caller: Caller, pool: Pool) -> None:
    """A retracted change leaves what stood before it; a campaign of which nothing is left is not shown."""
    about = {"campaign_id": 123, "occurred_at": AT}
    caller.post(
        {"id": "c", "type": "CampaignCreated", "name": "A", "timezone": "Europe/Berlin", **about},
        {"id": "n", "type": "CampaignRenamed", "name": "B", **about, "occurred_at": "2026-11-02T10:00:00Z"},
        {"id": "s", "type": "CampaignStatusChanged", "status": "ACTIVE", **about},
    )
    known = {"timezone": "Europe/Berlin", "language": None, "created_at": "2026-11-01T10:00:00.000Z"}
    seen = {"id": 123, "workspace_id": 340, "prospect_count": 0, **known}
    [campaign] = caller.get("/api/v1/campaigns/")["campaigns"]
    changed = "2026-11-02T10:00:00.000Z"
    assert campaign == {**seen, "name": "B", "status": "ACTIVE", "updated_at": changed}
    caller.post(retraction(1, "n", None), retraction(2, "s", None))
    [campaign] = caller.get("/api/v1/campaigns/")["campaigns"]
    assert campaign == {**seen, "name": "A", "status": "DRAFT", "updated_at": known["created_at"]}
    caller.post(retraction(3, "c", None))
    assert caller.get(f"{BASE}summary/")["campaigns"] == 0
    assert caller.get(BASE)["campaigns"] == caller.get("/api/v1/campaigns/")["campaigns"] == []
    assert caller.get(f"{BASE}123/explain/", metric="amount_of_replies") == 404
    assert verification.verify(pool, 340, lambda _: None) == []
    caller.post(email_sent(1))
    assert [each["name"] for each in caller.get(BASE)["campaigns"]] == ["Campaign 123"]


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_a_retraction_is_not_taken_back(caller: Caller, kind: str) -> None:
    """It is refused where that is known when it comes; else it changes nothing."""
    sent, back, vain = email_sent(1), retraction(1, "e-1"), retraction(2, "r-1")
    early = retraction(3, "r-4")
    assert caller.post(early, sent, back, kind=kind)["accepted"] == 3
    for body in ([vain], [email_sent(2), vain], [retraction(4, "e-9"), retraction(5, "r-4"), vain]):
        [*_, refused] = caller.post(*body, kind=kind)["rejected"]
        assert (refused["index"], refused["id"], refused["code"]) == (len(body) - 1, "r-2", "invalid_field")
        assert refused["error"].startswith("retracts: names a retraction, and a retraction can't be taken back")
    # What is stored is a duplicate, although it would be refused by now.
    assert caller.post(early, kind=kind)["duplicates"] == 1
    assert caller.post({**early, "occurred_at": "2026-11-01T11:00:00Z"}, kind=kind)["rejected"][0]["code"] == "conflict"
    assert caller.numbers()["amount_of_emails_sent"] == 1
    assert [each["id"] for each in caller.get("/api/v1/events/rejections/")["rejections"]].count("r-2") == 3


def test_an_import_refuses_what_a_post_does(caller: Caller, command: Command, tmp_path: Path) -> None:
    """And what is exported is imported again as it was."""
    caller.post(email_sent(1), retraction(1, "e-1", step=2))
    file = tmp_path / "events.ndjson"
    file.write_text(json.dumps(retraction(2, "r-1")) + "\n" + json.dumps(email_sent(2)) + "\n")
    code, out, _ = command("import", str(file), "--workspace", "340", "--json")
    assert (code, json.loads(out)["accepted"], json.loads(out)["rejected"]) == (1, 1, 1)
    rejects = json.loads(Path(f"{file}.rejected.ndjson").read_text())
    assert (rejects["line"], rejects["code"]) == (1, "invalid_field")
    _, exported, _ = command("export", "--workspace", "340")
    file.write_text(exported)
    code, out, _ = command("import", str(file), "--workspace", "341", "--create", "--json")
    assert (code, json.loads(out)["accepted"]) == (0, 3)
    assert command("export", "--workspace", "341").out == exported


def test_the_feed_shows_all(caller: Caller) -> None:
    """Also what is taken back, and by what."""
    caller.post(email_sent(1), retraction(1, "e-1", retracts={"id": "e-1", "source": None}))
    caller.post(retraction(2, "e-1", None, retracts={"id": "e-1", "source": "w"}))
    shown = caller.get(POST)["events"]
    assert [each["id"] for each in shown] == ["e-1", "r-1", "r-2"]
    assert shown[1]["retracts"] == {"id": "e-1"}
    assert shown[2]["retracts"] == {"id": "e-1", "source": "w"}
    assert "prospect_id" not in shown[2]


def test_explain_counts_the_retracted_events(caller: Caller, command: Command) -> None:
    """And does not show them."""
    caller.post(email_sent(1), email_sent(2), retraction(1, "e-1"), retraction(2, "never"))
    assert caller.numbers()["amount_of_emails_sent"] == 1
    explain = ("explain", "--workspace", "340", "--campaign", "123", "--metric", "amount_of_emails_sent")
    code, out, err = command(*explain)
    assert (code, out.splitlines()[0], len(out.splitlines())) == (0, "amount_of_emails_sent: 1", 2)
    assert err == "retracted, and so no part of it: 1 event\n"
    assert json.loads(command(*explain, "--json").out)["retracted"] == 1


def test_a_neutral_rating_stands_over_the_others_of_its_instant(caller: Caller) -> None:
    """It is neither, until a later one comes."""
    kinds = ("ProspectNeutral", "ProspectInterested", "ProspectNotInterested")
    caller.post(*(event_of(kind, id=kind, prospect_id="p") for kind in kinds))
    assert [caller.numbers()[f"amount_of_{what}interested"] for what in ("", "not_")] == [0, 0]
    caller.post(event_of("EventRetracted", id="r", prospect_id="p", retracts={"id": "ProspectNeutral"}))
    assert [caller.numbers()[f"amount_of_{what}interested"] for what in ("", "not_")] == [0, 1]


def test_a_later_event_marks_a_reply_as_automatic(caller: Caller) -> None:
    """The latest one not after it, which then closes no turn; twice is once; taken back it is a reply again."""
    reply: dict[str, Any] = {"kind": "ReplyReceived", "prospect_id": "p-1", "campaign_id": 123}
    at = "2026-11-01T1{}:00:00Z"
    caller.post(
        email_sent(1),
        event_of(**reply, id="1", occurred_at=at.format(1), step=9),
        event_of(**reply, id="2", occurred_at=at.format(3)),
    )
    names = ("amount_of_replies", "amount_of_automatic_replies", "amount_of_timed_replies", "average_reply_time")
    assert [caller.numbers()[name] for name in names] == [2, 0, 1, "1 hour"]
    fields = {**reply, "kind": "ReplyWasAutomatic"}
    caller.post(
        event_of(**fields, id="3", occurred_at=at.format(2)), event_of(**fields, id="4", occurred_at=at.format(1))
    )
    caller.post(event_of(**fields, id="5", occurred_at=at.format(0)))
    assert [caller.numbers()[name] for name in names] == [1, 1, 1, "3 hours"]
    caller.post(retraction(1, "3"), retraction(2, "4"))
    assert [caller.numbers()[name] for name in names] == [2, 0, 1, "1 hour"]


def test_which_of_several_replies_at_once_depends_on_what_they_say(caller: Caller) -> None:
    """The last by their values; of those alike, one that is not automatic yet; never on which came first."""
    alike = [event_of("ReplyReceived", id=str(number), automatic=number > 0, step=1) for number in range(2)]
    last = event_of("ReplyReceived", id="3", step=2, automatic=True)
    event = event_of("ReplyWasAutomatic", id="4")
    caller.post(event, alike[0])
    caller.post(alike[1])
    assert caller.numbers()["amount_of_replies"] == 0
    caller.post(last)
    assert caller.numbers()["amount_of_replies"] == 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"retracts": None}, "retracts: is missing"),
        ({"retracts": "e-0"}, "retracts: expected an object, got a string"),
        ({"retracts": []}, "retracts: expected an object, got an array"),
        ({"retracts": {}}, "retracts.id: is missing"),
        ({"retracts": {"idd": "e"}}, "retracts.idd: is not a field of retracts, did you mean id?"),
        ({"retracts": {"id": ""}}, "retracts.id: expected 1 to 128 characters"),
        ({"retracts": {"id": 5}}, "retracts.id: expected a string, got an integer"),
        ({"retracts": {"id": "a\0"}}, "retracts.id: must not contain NUL or a lone surrogate"),
        ({"retracts": {"id": "e", "source": "x" * 257}}, "retracts.source: expected at most 256 characters"),
        ({"retracts": {"id": "e", "source": "\ud800"}}, "retracts.source: must not contain NUL or a lone surrogate"),
        ({"step": 1}, "step: is not a field of EventRetracted without prospect_id"),
        ({"reason": "x"}, "reason: is not a field of EventRetracted"),
    ],
)
def test_a_retraction_that_is_wrong_is_refused_by_name(fields: dict[str, Any], error: str) -> None:
    code, text = refusal(event_of("EventRetracted", **fields))
    assert (code, text) == ("invalid_field", error)


@pytest.mark.parametrize("source", [None, ""])
def test_a_retraction_that_names_itself_is_refused(source: str | None) -> None:
    code, text = refusal(event_of("EventRetracted", retracts={"id": "e"}, source=source))
    assert (code, text.partition(",")[0]) == ("invalid_field", "retracts: names this event itself")
    [other] = parsed(event_of("EventRetracted", retracts={"id": "e"}, source="another"))
    assert b'"retracts":{"id":"e"}' in encode(other)


def test_damaged_details_stop_the_workspace_only_where_they_are_needed(pool: Pool) -> None:
    """Until a replay makes the row anew."""
    record(pool, 1, email_sent(1), email_sent(2))
    project_all(pool)
    execute(pool, "UPDATE journey SET details = 'damaged'")
    record(pool, 1, email_sent(3, prospect_id="p-1"), retraction(1, "e-2", "p-2"), retraction(2, "e-9", "p-9"))
    project_all(pool)
    assert stuck_at(pool, 1) == 4
    replay.replay(pool, 1, lambda _: None)
    assert stuck_at(pool, 1) is None
    assert verification.verify(pool, 1, lambda _: None) == []


def test_a_late_retraction_leaves_the_rows_of_a_replay(pool: Pool) -> None:
    """Live and rebuilt rows are alike, byte for byte, when the days that it empties are gone."""
    record(pool, 1, email_sent(1), email_sent(2, occurred_at="2026-11-05T10:00:00Z", prospect_id="p-1"))
    project_all(pool)
    record(pool, 1, retraction(1, "e-2"))
    project_all(pool)
    with pool.connection() as database:
        live = live_rows(database, 1)
        assert len(live[1]) == 1
        replay.replay(pool, 1, lambda _: None)
        assert live_rows(database, 1) == live
        assert ledger.retracting_retractions(database, 1, parsed(retraction(2, "r-1"))) == [0]
