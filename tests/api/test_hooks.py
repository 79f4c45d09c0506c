"""Shows that what tools post to their hooks becomes the numbers of a worker who posts the same events."""

import base64
import gzip
import hashlib
import hmac
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from falcon import testing

from api.app import create_app
from connectors.made_up import made_up
from connectors.providers import PROVIDERS
from domain.access import Access
from domain.recorder import Pool
from projections.queries import hooks as queries
from service import settings
from service.clock import clock
from service.web.application import make_parts
from tests.connectors import cases
from tests.connectors.cases import Example, examples_of
from tests.support.examples import JWT_SECRET, api_key
from tests.support.hooks import SENT, add_hook, connected, deliver, received
from tests.support.read_models import project_all
from tests.support.stored_events import execute, log

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
WORKER, HOOK = 340, 341  # the same events by a worker, and by a hook
RECEIPT = "2026-03-06T10:30:00.000Z"  # where the examples have no time of their own: a worker could not know it
OF_SENT = {"accepted": 2, "duplicates": 0, "ignored": 0, "rejected": 0}  # the mail, and the campaign's name


def numbers(client: testing.TestClient, key: dict[str, str], workspace: int) -> Any:
    """Return all the numbers of a workspace, without its own id."""
    query = {"workspace_id": workspace, "include": "extended"}
    campaigns = client.simulate_get(DASHBOARD, headers=key, params=query).json["campaigns"]
    by_step = client.simulate_get(f"{DASHBOARD}breakdown/", headers=key, params={**query, "by": "step,variant"}).json
    return [{**each, "workspace_id": 0} for each in campaigns], by_step


def use_known_key(pool: Pool) -> None:
    """Give the workspace the prospects' key by which the examples are worked out."""
    execute(pool, "UPDATE prospect_key SET key = %s WHERE workspace_id = %s", cases.KEY, HOOK)


def one_of_each_id(examples: list[Example]) -> list[Example]:
    """Return the examples without those that show another spelling of the same event."""
    standing: dict[object, object] = {}
    return [each for each in examples if all(standing.setdefault(event["id"], event) == event for event in each.events)]


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_a_hook_makes_the_numbers_of_a_worker(
    client: testing.TestClient, pool: Pool, users: Access, provider: str
) -> None:
    """In any order, retried, and doubled by a second hook; and what is no event for us changes nothing."""
    key = api_key(users, WORKER, HOOK)
    first, second = add_hook(pool, provider, HOOK), add_hook(pool, provider, HOOK)
    use_known_key(pool)
    timed = [each for each in one_of_each_id(examples_of(provider)) if RECEIPT not in str(each.events)]
    events = [event for each in timed for event in each.events]
    posted = client.simulate_post("/api/v1/events/", headers=key, json=events, params={"workspace_id": WORKER})
    assert posted.status_code == 200, posted.text
    deliveries = [(first, each.body, each) for each in timed] + [(second, each.retried(), each) for each in timed]
    random.Random(provider).shuffle(deliveries)
    for hook, body, each in deliveries:
        answer = deliver(client, provider, hook.token, body, each.headers)
        assert answer.status_code == 200, answer.text
    again = [deliver(client, provider, first.token, each.body, each.headers).json for each in timed]
    assert sum(each["accepted"] for each in again) == 0
    project_all(pool)
    assert numbers(client, key, HOOK) == numbers(client, key, WORKER)
    assert numbers(client, key, HOOK)[0], "nothing is shown of nothing"
    assert sorted(log(pool, HOOK)) == sorted(set(log(pool, WORKER)))


def test_a_status_without_a_time_is_dated_by_its_receipt(client: testing.TestClient, pool: Pool) -> None:
    """Its repeat within the hour is the same or a conflict: the first stands, and the answer is a 200."""
    hook = add_hook(pool, "smartlead")
    body = {"event_type": "CAMPAIGN_STATUS_CHANGED", "campaign_id": 1, "current_status": "ACTIVE"}
    assert deliver(client, "smartlead", hook.token, body).json == {**OF_SENT, "accepted": 1}
    again = deliver(client, "smartlead", hook.token, body)
    assert (again.status_code, again.json["accepted"]) == (200, 0)
    assert len(log(pool)) == 1


@pytest.mark.parametrize(
    ("body", "answer", "counted"),
    [
        (SENT, OF_SENT, {("EMAIL_SENT", "accepted", ""): 2}),
        (
            [SENT, SENT],
            {**OF_SENT, "duplicates": 1},
            {("EMAIL_SENT", "accepted", ""): 2, ("EMAIL_SENT", "duplicate", ""): 1},
        ),
        ([], {**OF_SENT, "accepted": 0}, {}),
        (
            {"event_type": "LEAD_LAUGHED"},
            {**OF_SENT, "accepted": 0, "ignored": 1},
            {("LEAD_LAUGHED", "ignored", "unknown event"): 1},
        ),
        (
            {**SENT, "event_timestamp": "yesterday"},
            {**OF_SENT, "accepted": 0, "rejected": 1},
            {("EMAIL_SENT", "rejected", f"{PROVIDERS['smartlead'].time}: expected a time with an offset"): 1},
        ),
        (
            {**SENT, "event_timestamp": "2999-01-01T00:00:00Z"},
            {**OF_SENT, "accepted": 0, "rejected": 2},
            {("EMAIL_SENT", "rejected", "out_of_range: occurred_at"): 2},
        ),
        (b"no JSON", {**OF_SENT, "accepted": 0, "rejected": 1}, {("", "rejected", "body: is no JSON"): 1}),
        (b"", {**OF_SENT, "accepted": 0, "rejected": 1}, {("", "rejected", "body: is no JSON"): 1}),
        ([1], {**OF_SENT, "accepted": 0, "rejected": 1}, {("", "rejected", "delivery: is no JSON object"): 1}),
    ],
)
def test_any_delivery_is_answered_with_200_and_counted(  # noqa: PLR0913 (fixtures, and a row)
    client: testing.TestClient, pool: Pool, users: Access, body: Any, answer: Any, counted: Any
) -> None:
    """By the tool's own name, outcome and reason; what was refused is among the rejections too."""
    key = api_key(users, 340)
    hook = add_hook(pool, "smartlead")
    for content_type in ("application/json", "text/plain", "x"):
        result = deliver(client, "smartlead", hook.token, body, {"Content-Type": content_type})
        assert (result.status_code, sum(result.json.values())) == (200, sum(answer.values()))
        if content_type == "application/json":
            assert result.json == answer
            assert received(pool) == counted
    rejections = client.simulate_get("/api/v1/events/rejections/", headers=key).json["rejections"]
    assert len(rejections) == 3 * answer["rejected"]


def test_prospects_are_named_by_a_key_of_the_workspace(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """It is made with the first hook and stays; `lookup` returns the name; no address is in the log."""
    key = api_key(users, 340, 341)
    lookup = {"email": " jane@EXAMPLE.com", "workspace_id": 340}
    assert client.simulate_get("/api/v1/prospects/lookup/", headers=key, params=lookup).status_code == 404
    hook = add_hook(pool, "smartlead")
    deliver(client, "smartlead", hook.token, SENT)
    name = client.simulate_get("/api/v1/prospects/lookup/", headers=key, params=lookup)
    assert list(name.json) == ["prospect_id"]
    connected(pool).revoke(hook.hook_id, "cli:test")
    add_hook(pool, "instantly")
    add_hook(pool, "smartlead", 341)
    again, elsewhere = (
        client.simulate_get("/api/v1/prospects/lookup/", headers=key, params={**lookup, "workspace_id": workspace})
        for workspace in (340, 341)
    )
    assert again.json == name.json != elsewhere.json
    feed = client.simulate_get("/api/v1/events/", headers=key).text
    assert name.json["prospect_id"] in feed
    assert "xample" not in feed
    cached = {**key, "If-None-Match": again.headers["etag"]}
    assert client.simulate_get("/api/v1/prospects/lookup/", headers=cached, params=lookup).status_code == 304


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"workspace_id": 340}, 400),
        ({"email": "jane", "workspace_id": 340}, 400),
        ({"email": "@" * 321, "workspace_id": 340}, 400),
        ({"email": "a@b", "workspace_id": "ALL"}, 400),
        ({"email": "a@b", "x": "1"}, 400),
        ({"email": "a@b", "workspace_id": 341}, 403),
        ({"email": "a@b"}, 200),
    ],
)
def test_a_lookup_is_for_whoever_may_read_there(
    client: testing.TestClient, pool: Pool, users: Access, query: dict[str, Any], status: int
) -> None:
    key, writer = api_key(users, 340), api_key(users, 340, scopes=("write",))
    for workspace in (340, 341):
        add_hook(pool, "smartlead", workspace)
    path = "/api/v1/prospects/lookup"
    assert client.simulate_get(path, headers=key, params=query).status_code == status
    assert client.simulate_get(path, params=query).status_code == 401
    if status == 200:
        assert client.simulate_get(path, headers=writer, params=query).status_code == 403


def test_a_team_may_keep_addresses_ids_and_labels_of_its_own(client: testing.TestClient, pool: Pool) -> None:
    """As the hook was added; labels in whatever case."""
    labels = {"Hot Lead": "interested", "Interested": "nothing"}
    hook = add_hook(pool, "smartlead", prospects="plain", own_campaign_ids=True, labels=labels)
    rated = {**SENT, "event_type": "LEAD_CATEGORY_UPDATED", "lead_category": {"new_id": 7, "new_name": "HOT lead"}}
    assert deliver(client, "smartlead", hook.token, [SENT, rated]).json["accepted"] == 3
    rated["lead_category"] = {"new_id": 8, "new_name": "Interested"}
    assert deliver(client, "smartlead", hook.token, rated).json["ignored"] == 1
    with pool.connection() as database:
        rows = database.execute("SELECT topic, state FROM stored_events WHERE workspace_id = 340").fetchall()
    events = [(topic.partition(":")[2], json.loads(state)) for topic, state in rows]
    assert {kind for kind, _ in events} == {"EmailSent", "CampaignRenamed", "ProspectInterested"}
    assert {event["campaign_id"] for _, event in events} == {4711}
    assert {event.get("prospect_id") for _, event in events} == {None, "jane@example.com"}


def test_a_token_counts_for_its_provider_until_it_is_revoked(client: testing.TestClient, pool: Pool) -> None:
    """The body is not read before: a request without a valid token gets no details of it."""
    hook = add_hook(pool, "smartlead")
    junk = b"x" * (6 * 1024 * 1024)
    for provider, token in (("smartlead", "wrong"), ("instantly", hook.token), ("smartlead", hook.token[:-1])):
        answer = deliver(client, provider, token, junk)
        assert (answer.status_code, answer.json) == (401, {"error": "Invalid hook"})
    assert deliver(client, "smartlead", hook.token, SENT).json == OF_SENT
    assert deliver(client, "smartlead", f"{hook.token}/", SENT).json["duplicates"] == 2
    connected(pool).revoke(hook.hook_id, "cli:test")
    answer = deliver(client, "smartlead", hook.token, {**SENT, "stats_id": "s-2"})
    assert (answer.status_code, answer.json) == (401, {"error": "Invalid hook"})
    assert len(log(pool)) == 2


def test_what_is_no_hook_is_refused(client: testing.TestClient, pool: Pool) -> None:
    """An unknown tool, a method; a body that is too large, packed too large or in another way, which is counted."""
    hook = add_hook(pool, "smartlead")
    path = f"/api/v1/hooks/smartlead/{hook.token}"
    assert deliver(client, "smartleads", hook.token, SENT).status_code == 404
    assert client.simulate_get(path).status_code == 405
    assert deliver(client, "smartlead", hook.token, b" " * (5 * 1024 * 1024 + 1)).status_code == 413
    packed = {"Content-Encoding": "gzip"}
    assert deliver(client, "smartlead", hook.token, gzip.compress(b" " * 5_500_000), packed).status_code == 413
    assert deliver(client, "smartlead", hook.token, b"not", packed).status_code == 400
    assert deliver(client, "smartlead", hook.token, b"x", {"Content-Encoding": "br"}).status_code == 415
    assert received(pool) == {
        ("", "rejected", "Expected at most 5242880 bytes"): 1,
        ("", "rejected", "Expected a body that gzip makes at most 200 times smaller"): 1,
        ("", "rejected", "body: is not gzip"): 1,
        ("", "rejected", "Expected Content-Encoding: gzip, or none"): 1,
    }
    assert deliver(client, "smartlead", hook.token, gzip.compress(json.dumps(SENT).encode()), packed).json == OF_SENT


def test_what_a_tool_adds_to_the_url_changes_nothing(client: testing.TestClient, pool: Pool) -> None:
    """A query, whatever it is: the token is all that counts."""
    hook = add_hook(pool, "smartlead")
    path = f"/api/v1/hooks/smartlead/{hook.token}"
    for query, answer in (("attempt=1", OF_SENT), ("%ff", {**OF_SENT, "accepted": 0, "duplicates": 2})):
        result = client.simulate_post(path, json=SENT, query_string=query)
        assert (result.status_code, result.json) == (200, answer)


def test_more_than_a_transaction_holds_is_taken_in_several(
    client: testing.TestClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was refused is counted by the name of its own delivery."""
    monkeypatch.setattr("api.hooks.MAX_EVENTS", 2)
    hook = add_hook(pool, "smartlead")
    sent = [{**SENT, "stats_id": f"s-{number}", "campaign_name": ""} for number in range(5)]
    future = {**SENT, "event_type": "EMAIL_OPEN", "event_timestamp": "2999-01-01T00:00:00Z", "campaign_name": ""}
    answer = deliver(client, "smartlead", hook.token, [*sent, future])
    assert answer.json == {"accepted": 5, "duplicates": 0, "ignored": 0, "rejected": 1}
    assert received(pool) == {
        ("EMAIL_SENT", "accepted", ""): 5,
        ("EMAIL_OPEN", "rejected", "out_of_range: occurred_at"): 1,
    }


def test_so_many_names_are_counted_and_the_others_together(client: testing.TestClient, pool: Pool) -> None:
    """Whoever has the URL can't fill the database with names; known ones are counted on."""
    hook = add_hook(pool, "smartlead")
    for round_ in (1, 2):
        kinds = [{"event_type": f"KIND_{number}"} for number in range(300)]
        assert deliver(client, "smartlead", hook.token, kinds).json["ignored"] == 300
        counted = received(pool)
        assert len(counted) == queries.MOST_NAMES + 1
        assert counted[queries.OTHERS, "ignored", ""] == 100 * round_
        assert counted["KIND_0", "ignored", "unknown event"] == round_


def test_another_key_of_a_campaigns_id_is_a_conflict(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """As on every other way in."""
    key = api_key(users, 340)
    execute(pool, "INSERT INTO campaign_key VALUES (340, %s, 'another')", 6_840_832_276_660_393)
    hook = add_hook(pool, "smartlead")
    assert deliver(client, "smartlead", hook.token, SENT).json == {**OF_SENT, "accepted": 0, "rejected": 2}
    assert received(pool) == {("EMAIL_SENT", "rejected", "conflict: campaign_key"): 2}
    rejections = client.simulate_get("/api/v1/events/rejections/", headers=key).json["rejections"]
    assert [each["code"] for each in rejections] == ["conflict"] * 2


def test_a_database_that_is_away_is_a_503(client: testing.TestClient, pool: Pool) -> None:
    """So that the tool tries again."""
    hook = add_hook(pool, "smartlead")
    pool.close()
    answer = deliver(client, "smartlead", hook.token, SENT)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.fixture
def signing(pool: Pool) -> testing.TestClient:
    """Give the application with a secret in its environment, and one that is no key."""
    environment = {"JWT_SECRET": JWT_SECRET, "DATABASE_URL": "postgresql://unused", "SIGNING": "s3cret", "BAD": "!"}
    return testing.TestClient(create_app(make_parts(pool, settings.from_environment(environment), environment)))


def test_a_delivery_is_signed_where_the_hook_has_a_secret(
    signing: testing.TestClient, pool: Pool, tmp_path: Any
) -> None:
    """From the environment or a file, over the raw body; who signs otherwise is refused, counted and stores nothing."""
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    for number, secret in enumerate(("env:SIGNING", f"file:{file}")):
        hook = add_hook(pool, "smartlead", 340 + number, secret=secret)
        body = json.dumps(SENT).encode()
        signature = "sha256=" + hmac.digest(b"s3cret", body, hashlib.sha256).hex()
        for header in ({}, {"X-Smartlead-Signature": "sha256=0"}):
            answer = deliver(signing, "smartlead", hook.token, body, header)
            assert (answer.status_code, answer.json) == (401, {"error": "Invalid signature"})
        assert log(pool, 340 + number) == []
        answer = deliver(signing, "smartlead", hook.token, body, {"X-Smartlead-Signature": signature})
        assert (answer.status_code, answer.json) == (200, OF_SENT)
    with pool.connection() as database:
        counted = queries.listed(database)[0].received
    assert [(each.outcome, each.reason, each.number) for each in counted][:2] == [
        ("rejected", "signature: secret_key: is missing", 1),
        ("rejected", "signature: the signature doesn't fit", 1),
    ]


def test_a_secret_that_cannot_be_read_is_no_answer_to_the_tool(signing: testing.TestClient, pool: Pool) -> None:
    """A 503: it tries again, and an operator mends it meanwhile; nothing gets in unsigned."""
    for provider, secret in (("smartlead", "env:ABSENT"), ("smartlead", "file:/absent"), ("resend", "env:BAD")):
        hook = add_hook(pool, provider, secret=secret)
        headers = {"svix-id": "1", "svix-timestamp": str(clock() // 1_000), "svix-signature": "v1,x"}
        answer = deliver(signing, provider, hook.token, SENT, headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert log(pool) == []


def test_a_topic_of_sns_is_confirmed_by_opening_what_is_shown(client: testing.TestClient, pool: Pool) -> None:
    """The service fetches nothing by itself; and shows only what AWS serves."""
    hook = add_hook(pool, "ses")
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
    body = {"Type": "SubscriptionConfirmation", "TopicArn": "arn:aws:sns:eu-west-1:1:t", "Message": "You have chosen"}
    for shown, subscribe_url in (
        (None, "https://evil.example.com/"),
        (url, url),
        (url, "http://sns.eu-west-1.amazonaws.com/"),
    ):
        assert deliver(client, "ses", hook.token, {**body, "SubscribeURL": subscribe_url}).json["ignored"] == 1
        with pool.connection() as database:
            assert queries.listed(database)[0].confirm_url == shown


TOPIC = "arn:aws:sns:eu-west-1:1:events"


def signed_by_sns(key: rsa.RSAPrivateKey) -> dict[str, str]:
    """Return a notification of SNS, as it is signed by a key."""
    mail = {"timestamp": "2026-03-02T08:00:00Z", "messageId": "m", "tags": {"campaign": ["7"], "prospect": ["p"]}}
    fields = {"Message": json.dumps({"eventType": "Send", "mail": mail}), "MessageId": "i", "Timestamp": "t"}
    fields |= {"TopicArn": TOPIC, "Type": "Notification"}
    signed = "".join(f"{name}\n{fields[name]}\n" for name in sorted(fields)).encode()
    signature = base64.b64encode(key.sign(signed, padding.PKCS1v15(), hashes.SHA256())).decode()
    url = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"
    return {**fields, "SignatureVersion": "2", "Signature": signature, "SigningCertURL": url}


def certificate(key: rsa.RSAPrivateKey) -> str:
    """Return a certificate of a key as PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    day = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day + timedelta(days=365))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_a_topic_of_sns_signs_by_certificates_that_the_operator_has_put_there(
    signing: testing.TestClient, pool: Pool, tmp_path: Any
) -> None:
    """One that fits is enough; where none does, the list names the one that is asked for; without any it is a 503."""
    old, new = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)
    file = tmp_path / "sns"
    hook = add_hook(pool, "ses", secret=f"file:{file}")
    url = signed_by_sns(new)["SigningCertURL"]
    statuses = []
    for text in (TOPIC, f"{TOPIC}\n{certificate(old)}", f"{TOPIC}x\n{certificate(new)}"):
        file.write_text(text)
        statuses.append(deliver(signing, "ses", hook.token, signed_by_sns(new)).status_code)
    assert (statuses, log(pool)) == ([503, 401, 401], [])
    assert received(pool) == {
        ("", "rejected", f"signature: Signature: doesn't fit, the certificate is {url}"): 1,
        ("", "rejected", f"signature: the signature doesn't fit, the certificate is {url}"): 1,
    }
    file.write_text(f"{TOPIC}\n{certificate(old)}{certificate(new)}")
    assert deliver(signing, "ses", hook.token, signed_by_sns(new)).json == {**OF_SENT, "accepted": 1}


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_a_test_delivery_is_understood_and_leaves_nothing(
    client: testing.TestClient, pool: Pool, provider: str
) -> None:
    """A made-up one of each tool becomes at least one event, of which nothing is stored, counted or refused."""
    hook = add_hook(pool, provider)
    delivery = made_up(PROVIDERS[provider], clock())
    headers = {**delivery.headers, "X-Hook-Test": "1"}
    for _ in range(2):
        answer = deliver(client, provider, hook.token, delivery.body, headers)
        assert answer.json["accepted"] >= 1
        assert answer.json == {**OF_SENT, "accepted": answer.json["accepted"]}
    assert (log(pool), received(pool)) == ([], {})
    assert deliver(client, provider, hook.token, delivery.body, dict(delivery.headers)).json == answer.json


def test_what_came_in_is_measured_by_tool_and_outcome(client: testing.TestClient, pool: Pool) -> None:
    """And among all events; no metric names a token, a hook or a workspace."""
    hook = add_hook(pool, "smartlead")
    deliver(client, "smartlead", hook.token, [SENT, SENT, {"event_type": "X"}])
    text = client.simulate_get("/metrics").text
    for line in (
        'campaign_analytics_hook_events_total{outcome="accepted",provider="smartlead"} 2.0',
        'campaign_analytics_hook_events_total{outcome="duplicate",provider="smartlead"} 1.0',
        'campaign_analytics_hook_events_total{outcome="ignored",provider="smartlead"} 1.0',
        'campaign_analytics_events_total{outcome="accepted"} 2.0',
    ):
        assert line in text
    assert hook.token not in text
    assert hook.hook_id not in text


ADMIN = "/api/v1/access/hooks/"


def test_the_platform_adds_shows_and_revokes_hooks(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """With a key of scope admin; the token is shown once, and stands nowhere."""
    admin = api_key(users, user="platform", scopes=("admin",))
    by = f"key:{admin['X-API-Key'].partition('.')[0]}"
    terms = {"workspace_id": 340, "provider": "smartlead"}
    added = client.simulate_post(ADMIN, headers=admin, json=terms)
    assert (added.status_code, list(added.json)) == (201, ["id", "path"])
    token = added.json["path"].rpartition("/")[2]
    assert client.simulate_post(added.json["path"], json=SENT).json == OF_SENT
    (shown,) = client.simulate_get(ADMIN, headers=admin).json["hooks"]
    (counted,) = shown.pop("received")
    assert counted["first_at"] == counted["latest_at"] >= shown.pop("created_at")
    assert {name: counted[name] for name in ("name", "outcome", "reason", "number")} == {
        "name": "EMAIL_SENT",
        "outcome": "accepted",
        "reason": "",
        "number": 2,
    }
    assert shown == {
        "id": added.json["id"],
        **terms,
        "prospects": "hashed",
        "own_campaign_ids": False,
        "secret": None,
        "labels": {},
        "created_by": by,
        "confirm_url": None,
    }
    with pool.connection() as database:
        stored = database.execute("SELECT string_agg(state::text, '') FROM stored_events WHERE workspace_id = 0")
        assert token.encode().hex() not in str(stored.fetchone())
        assert token not in str(database.execute("SELECT * FROM hook").fetchall())
    for _ in range(2):
        assert client.simulate_delete(f"{ADMIN}{added.json['id']}", headers=admin).status_code == 204
        assert client.simulate_post(added.json["path"], json=SENT).status_code == 401
    assert client.simulate_get(ADMIN, headers=admin).json == {"hooks": []}
    assert client.simulate_delete(f"{ADMIN}hk_0", headers=admin).status_code == 404


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({}, "workspace_id"),
        ({"workspace_id": 0, "provider": "smartlead"}, "workspace_id"),
        ({"workspace_id": True, "provider": "smartlead"}, "workspace_id"),
        ({"workspace_id": 1, "provider": "smartled"}, "provider"),
        ({"workspace_id": 1, "provider": 5}, "provider"),
        ({"workspace_id": 1, "provider": "smartlead", "prospects": "clear"}, "prospects"),
        ({"workspace_id": 1, "provider": "smartlead", "own_campaign_ids": 1}, "own_campaign_ids"),
        ({"workspace_id": 1, "provider": "smartlead", "secret": "s3cret"}, "secret"),
        ({"workspace_id": 1, "provider": "smartlead", "secret": "file:relative"}, "secret"),
        ({"workspace_id": 1, "provider": "heyreach", "secret": "env:X"}, "secret"),
        ({"workspace_id": 1, "provider": "smartlead", "labels": {"a": "happy"}}, "labels"),
        ({"workspace_id": 1, "provider": "smartlead", "labels": []}, "labels"),
        ({"workspace_id": 1, "provider": "smartlead", "labels": {" ": "neutral"}}, "labels"),
        ({"workspace_id": 1, "provider": "smartlead", "labels": {"Hot": "interested", "hot ": "nothing"}}, "labels"),
        ({"workspace_id": 1, "provider": "smartlead", "token": "x"}, "token"),
    ],
)
def test_terms_that_cannot_be_are_named(
    client: testing.TestClient, users: Access, terms: dict[str, Any], field: str
) -> None:
    """400 with the field; never a secret that was given by mistake."""
    admin = api_key(users, user="platform", scopes=("admin",))
    answer = client.simulate_post(ADMIN, headers=admin, json=terms)
    assert answer.status_code == 400
    assert field in [each["field"] for each in answer.json["details"]]
    assert "s3cret" not in answer.text
    assert client.simulate_get(ADMIN, headers=admin).json == {"hooks": []}


def test_only_an_admin_key_is_let_in(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """Neither with a key that reads and writes nor without any key, before anything is answered."""
    hook = add_hook(pool, "smartlead")
    key = api_key(users, 340)
    for method, path in (("GET", ADMIN), ("POST", ADMIN), ("DELETE", f"{ADMIN}{hook.hook_id}")):
        assert client.simulate_request(method, path, headers=key, json={}).status_code == 403
        assert client.simulate_request(method, path, json={}).status_code == 401
    assert deliver(client, "smartlead", hook.token, SENT).status_code == 200
