"""Posts, reads and delivers without end while processes are killed, and keeps what was answered for a later check."""

import hashlib
import http.client
import json
import time
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from random import Random
from threading import Event, Lock
from typing import Any

from tests.support.examples import session
from tests.support.reference import RATINGS, TOUCHES
from tests.support.running import Answer, request

EVENTS_A_WORKSPACE = 250  # then another one is opened: the reference takes milliseconds for so many, and not seconds
AWAY_SECONDS = 180.0  # the service may be away for no longer than this, however busy the machine
USER = "u-1"
_KINDS = (*TOUCHES, "ProspectAdded", "ProspectRemoved", "InviteAccepted", "ReplyReceived", "ReplyReceived", *RATINGS)
DOWN = (OSError, http.client.HTTPException)  # what a request may meet while processes are killed

Key = tuple[str, str]  # the source and the id of an event
Posted = dict[str, Any]


@dataclass
class Workspace:
    """A workspace, all that was sent to it, and its answers."""

    number: int
    hook: str  # the path of its tool's hook
    sent: dict[Key, Posted] = field(default_factory=dict)
    acknowledged: set[Key] = field(default_factory=set)
    position: int = 0  # the greatest that was acknowledged
    shown: dict[int, list[Any]] = field(default_factory=dict)  # the campaigns, by the position that they were shown at
    read: list[Key] = field(default_factory=list)  # the log, as read from the feed
    epoch: str | None = None


class WrongError(AssertionError):
    """The service has answered what it never may."""


class Load:
    """What workers, tools and dashboards do, each method on a thread of its own until `ended` is set."""

    def __init__(self, seed: int, url: str, keys: dict[str, dict[str, str]]) -> None:
        """Take what chance begins with, the URL of the service, and headers with the keys `user` and `admin`."""
        self._seed = seed
        self.url = url
        self.reader = keys["user"]
        self._admin = {**keys["admin"], "Content-Type": "application/json"}
        self._opening = Lock()
        self._noting = Lock()
        self._pause = Event()  # which is never set
        self.ended = Event()
        self.workspaces: list[Workspace] = []
        self.outcomes: Counter[str] = Counter()

    def write(self, number: int) -> None:
        """Post events as a worker: each until it is acknowledged, some once more."""
        chance, count, source = Random(f"{self._seed} writer {number}"), 0, f"w{number}"
        earlier: dict[int, list[Posted]] = defaultdict(list)
        while not self.ended.is_set():
            workspace = self._current()
            size = chance.choice((1, 1, 1, 3, 10, 120))  # the last one is too large to share a commit
            own = earlier[workspace.number]
            events = [made_up(chance, source, f"e-{count + each}", own) for each in range(size)]
            own += events
            count += size
            first = self._post(workspace, events)
            if first["accepted"] + first["duplicates"] != size or first["rejected"]:
                raise WrongError(first)
            if chance.random() < 0.2:
                again = self._post(workspace, events)
                if again["duplicates"] != size:
                    raise WrongError("acknowledged before, and not known now", again)

    def deliver(self, number: int) -> None:
        """Post deliveries as a tool does, each until it is taken."""
        chance, count = Random(f"{self._seed} tool {number}"), 0
        while not self.ended.is_set():
            workspace = self._current()
            delivery, event = made_up_delivery(chance, f"{number}-{count}")
            key = key_of(event)
            workspace.sent[key] = event
            self.insist("deliver", "POST", workspace.hook, {}, delivery)
            workspace.acknowledged.add(key)
            count += 1
            self.ended.wait(0.05)

    def look(self, number: int) -> None:
        """Read numbers as a dashboard does, of new workspaces and of old ones."""
        chance = Random(f"{self._seed} reader {number}")
        while not self.ended.is_set():
            if not self.workspaces:
                self.ended.wait(0.01)
                continue
            workspace = chance.choice(self.workspaces[-2:] if chance.random() < 0.8 else self.workspaces)
            position = workspace.position
            query = f"workspace_id={workspace.number}"
            if waits := chance.random() < 0.3:
                query += f"&min_position={position}"
            headers = self.reader if chance.random() < 0.5 else session(USER)
            answer = self.ask("read", "GET", f"/api/v1/dashboard/campaign-analytics/?{query}", headers)
            if answer is not None:
                self._note(workspace, answer, position, position if waits else 0)
            self.ended.wait(0.01)

    def follow(self) -> None:
        """Read the logs by the feed, which may miss no event and repeat none."""
        while not self.ended.is_set():
            for workspace in self.workspaces[-3:]:
                self.read_on(workspace)
            self.ended.wait(0.05)

    def read_on(self, workspace: Workspace, *, insist: bool = False) -> int:
        """Read the next page of a log, and return the head."""
        path = f"/api/v1/events/?workspace_id={workspace.number}&after={len(workspace.read)}"
        path += f"&epoch={workspace.epoch}" if workspace.epoch else ""
        fetch = self.insist if insist else self.ask
        answer = fetch("feed", "GET", path, self.reader)
        if answer is None:
            return 0
        for each in answer.json["events"]:
            if each["position"] != len(workspace.read) + 1:
                raise WrongError("the feed has a gap", workspace.number, each)
            workspace.read.append((each.get("source", ""), each["id"]))
        workspace.epoch = answer.json["epoch"]
        return int(answer.json["head"])

    def ask(  # noqa: PLR0913 (a request, and what it is counted as)
        self,
        what: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None = None,
        good: Collection[int] = (200, 201, 204),
    ) -> Answer | None:
        """Ask once; return None where the service is away, as it may be, and raise WrongError for any other answer."""
        try:
            answer = request(self.url, method, path, headers, body)
        except DOWN as error:
            self._count(f"{what}: {type(error).__name__}")
            return None
        self._count(f"{what}: {answer.status}")
        if answer.status in good:
            return answer
        if answer.status != 503 or "Retry-After" not in answer.headers:
            raise WrongError(method, path, answer.status, answer.body)
        return None

    def insist(self, what: str, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> Answer:
        """Ask until the answer is good."""
        until = time.monotonic() + AWAY_SECONDS
        while time.monotonic() < until:
            answer = self.ask(what, method, path, headers, body)
            if answer is not None:
                return answer
            self._pause.wait(0.05)
        raise WrongError("it does not come back", method, path)

    def _count(self, outcome: str) -> None:
        with self._noting:
            self.outcomes[outcome] += 1

    def _current(self) -> Workspace:
        with self._opening:
            if not self.workspaces or len(self.workspaces[-1].sent) >= EVENTS_A_WORKSPACE:
                self.workspaces.append(self._opened(len(self.workspaces) + 1))
            return self.workspaces[-1]

    def _opened(self, number: int) -> Workspace:
        self.insist("link", "PUT", f"/api/v1/access/users/{USER}/workspaces/{number}", self._admin)
        terms = {"workspace_id": number, "provider": "smartlead", "prospects": "plain", "own_campaign_ids": True}
        hook = self.insist("hook", "POST", "/api/v1/access/hooks/", self._admin, json.dumps(terms).encode())
        return Workspace(number, hook.json["path"])

    def _post(self, workspace: Workspace, events: list[Posted]) -> dict[str, Any]:
        keys = {key_of(each): each for each in events}
        workspace.sent.update(keys)
        path = f"/api/v1/events/?workspace_id={workspace.number}"
        headers = {**self.reader, "Content-Type": "application/json"}
        counts: dict[str, Any] = self.insist(
            "post", "POST", path, headers, json.dumps({"events": events}).encode()
        ).json
        with self._noting:
            workspace.acknowledged |= keys.keys()
            workspace.position = max(workspace.position, counts["position"])
        return counts

    def _note(self, workspace: Workspace, answer: Answer, acknowledged: int, least: int) -> None:
        position, lag = (int(answer.headers[name]) for name in ("X-Position", "X-Lag"))
        if position < least or position + lag < acknowledged:
            raise WrongError(workspace.number, position, lag, acknowledged, least)
        campaigns = answer.json["campaigns"]
        with self._noting:
            before = workspace.shown.setdefault(position, campaigns)
        if before != campaigns:
            raise WrongError("two answers of one position", workspace.number, position, before, campaigns)


def key_of(event: Posted) -> Key:
    """Return what names an event for ever."""
    return event["source"], event["id"]


def made_up(chance: Random, source: str, identity: str, earlier: list[Posted]) -> Posted:
    """Return an event by chance in a small world, which may take back one of the earlier ones."""
    event: Posted = {
        "source": source,
        "id": identity,
        "type": chance.choice(_KINDS),
        "campaign_id": chance.randint(1, 3),
        "prospect_id": f"p-{chance.randint(1, 12)}",
        "occurred_at": _instant(chance),
        "step": chance.randint(1, 3),
    }
    kind = chance.random()
    if kind < 0.05 and earlier and (named := chance.choice(earlier))["type"] != "EventRetracted":
        del event["step"]
        about: Posted = {name: named[name] for name in ("campaign_id", "prospect_id", "occurred_at") if name in named}
        return {**event, **about, "type": "EventRetracted", "retracts": {"id": named["id"], "source": source}}
    if kind > 0.95:
        own = {name: event[name] for name in ("source", "id", "campaign_id", "occurred_at")}
        return {**own, "type": "CampaignRenamed", "name": f"Name {chance.randint(1, 9)}"}
    return event


def made_up_delivery(chance: Random, number: str) -> tuple[bytes, Posted]:
    """Return a delivery of Smartlead's that a mail was sent, and the event that becomes of it."""
    campaign, prospect, at = chance.randint(1, 3), f"p-{chance.randint(1, 12)}@example.com", _instant(chance)
    body = {
        "event_type": "EMAIL_SENT",
        "campaign_id": campaign,
        "sl_lead_email": prospect,
        "event_timestamp": at,
        "stats_id": number,
        "sequence_number": 1,
    }
    named = "1:" + hashlib.sha256(f"EMAIL_SENT\n{number}".encode()).hexdigest()[:32]
    event = {"source": "smartlead", "id": named, "type": "EmailSent", "campaign_id": campaign}
    return json.dumps(body).encode(), {**event, "prospect_id": prospect, "occurred_at": at, "step": 1}


def _instant(chance: Random) -> str:
    return f"2026-11-0{chance.randint(1, 5)}T{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:00Z"
