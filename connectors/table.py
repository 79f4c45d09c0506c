"""The words of which a provider's table is made; everything that tools differ in is expressed by them, none by code.

A path names a field: `a.b`, with `a.0` for the first of a list and `a.b | c` for the first one that is there, which
neither `null` nor a blank string is. In a list of `{"name", "value"}` objects a name stands for its value.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

Scheme = Literal["header", "basic", "body", "smartlead", "svix", "mailgun", "sendgrid", "sns"]  # see signatures.py

# What a recipe of an id is made of: `@type` (the provider's name of the event, the first one of its aliases),
# `@campaign`, `@prospect`, `@step`, `@variant`, `@sender_id`, `@time` (ms since 1970), or a path. A part that ends with
# `?` may be absent and is then empty; where another part is absent the next recipe counts.
Recipe = tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """A type of event of ours, with the fields that are the same whenever it is made."""

    type: str
    channel: str | None = None
    automatic: bool = False
    status: str | None = None

    @property
    def about_campaign(self) -> bool:
        """Whether it is about the campaign alone, without a prospect."""
        return self.type == "CampaignStatusChanged"


EMAIL_REPLY = Fact("ReplyReceived", channel="email")
AUTOMATIC_REPLY = Fact("ReplyReceived", channel="email", automatic=True)
LINKEDIN_REPLY = Fact("ReplyReceived", channel="linkedin")
INTERESTED = Fact("ProspectInterested")
NOT_INTERESTED = Fact("ProspectNotInterested")
NEUTRAL = Fact("ProspectNeutral")
MEETING = Fact("MeetingBooked")
WAS_AUTOMATIC = Fact("ReplyWasAutomatic")
ACTIVE = Fact("CampaignStatusChanged", status="ACTIVE")
PAUSED = Fact("CampaignStatusChanged", status="PAUSED")
COMPLETED = Fact("CampaignStatusChanged", status="COMPLETED")

# How the categories that people and models give to replies are understood, unless the connection says otherwise.
CATEGORIES: Mapping[str, tuple[Fact, ...]] = {
    "interested": (INTERESTED,),
    "meeting request": (INTERESTED,),
    "not interested": (NOT_INTERESTED,),
    "do not contact": (NOT_INTERESTED,),
    "out of office": (WAS_AUTOMATIC,),
}


@dataclass(frozen=True)
class Only:
    """A condition: the field at the path is one of the values; what isn't is ignored, for the reason."""

    path: str
    values: tuple[object, ...]  # none: it has to be there, whatever it is
    reason: str
    or_absent: bool = False


@dataclass(frozen=True)
class Choice:
    """Facts by what a field holds, in whatever case; a value that isn't listed is ignored and counted."""

    path: str
    facts: Mapping[str, tuple[Fact, ...]]
    editable: bool = False  # the connection's own categories stand over these


@dataclass(frozen=True)
class Newest:
    """The time of the newest entry of a list, of those whose field has a value."""

    entries: str
    time: str
    where: str
    value: object


@dataclass(frozen=True)
class Rule:
    """What one of a provider's events becomes; what it leaves out is as the provider has it."""

    facts: tuple[Fact, ...] = ()  # several: one label that means them all
    _: KW_ONLY
    choice: Choice | None = None
    only: tuple[Only, ...] = ()
    identity: tuple[Recipe, ...] = ()
    prospect: str = ""
    sender: str = ""
    time: str = ""
    newest: Newest | None = None


def facts(*types: str) -> tuple[Fact, ...]:
    """Return facts of these types, without any fields of their own."""
    return tuple(Fact(name) for name in types)


@dataclass(frozen=True)
class Export:
    """Where an export's rows stand in its JSON, and the payload in a row; an empty path: it is that itself."""

    rows: str = ""
    payload: str = ""


@dataclass(frozen=True, kw_only=True)
class Provider:
    """All that is known of what a tool posts. Event names are looked up in whatever case."""

    name: str
    event: str  # where the name of the event stands
    events: Mapping[str, Rule]  # `name | alias | alias`
    ignored: Mapping[str, str]  # the reason why; `*` in a name stands for anything
    campaign: str
    prospect: str
    time: str
    campaign_name: str = ""
    tenant: str = ""
    sender: str = ""
    step: str = ""
    step_offset: int = 0  # added to it; 1 where the tool counts from 0
    variant: str = ""
    own_id: str = ""  # an id that the tool itself gives to the fact, not to the delivery
    identity: tuple[Recipe, ...] = ()
    by_email: bool = False  # prospects are known by their address
    tags: bool = False  # the sender's own tags name campaign and prospect
    labels: bool = False  # custom labels arrive as event names
    envelope: str = ""  # the payload is JSON in a string at this path
    signature: Scheme | None = None
    export: Export | None = None
    rules: Mapping[str, tuple[str, Rule]] = field(init=False, repr=False)  # by name and alias, case-folded

    def __post_init__(self) -> None:
        """Index the names."""
        rules = {}
        for names, rule in self.events.items():
            kind, *aliases = names.split(" | ")
            rules.update({name.casefold(): (kind, rule) for name in (kind, *aliases)})
        object.__setattr__(self, "rules", rules)

    def reason(self, name: str) -> str | None:
        """Return why an event of this name is ignored on purpose, None where it isn't known."""
        patterns = self.ignored.items()
        return next((why for pattern, why in patterns if fnmatchcase(name.casefold(), pattern.casefold())), None)
