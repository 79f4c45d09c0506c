"""What a tool's delivery becomes: events, counts by outcome, and rejections."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from api.ingest import intake
from api.ingest.formats import Part
from connectors.connection import MEANINGS, Connection
from connectors.table import Provider
from connectors.translation import Translation, translate
from domain.hooks import PROSPECTS
from domain.ledger import Outcome
from projections.queries.hooks import KnownHook
from projections.queries.rejections import MOST_REJECTIONS, Rejection

ACCEPTED, DUPLICATE, IGNORED, REJECTED = OUTCOMES = ("accepted", "duplicate", "ignored", "rejected")
_ANSWERED_AS = {"accepted": ACCEPTED, "duplicates": DUPLICATE, "ignored": IGNORED, "rejected": REJECTED}


@dataclass
class Effect:
    """The effect of a delivery: counts by the tool's event name, outcome and reason; rejections, and their codes."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rejections: list[Rejection] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)  # of the rejected ones

    def number(self, outcome: str) -> int:
        """Return the number with this outcome: of events, and of deliveries that became none."""
        return sum(number for (_, other, _), number in self.counts.items() if other == outcome)

    def answer(self) -> dict[str, int]:
        """Return the counts as the answer to the tool has them."""
        return {name: self.number(outcome) for name, outcome in _ANSWERED_AS.items()}

    def add_unused(self, translation: Translation, source: str, now: int) -> None:
        """Add the deliveries that became no event."""
        for (name, reason), number in translation.ignored.items():
            self.counts[name, IGNORED, reason] += number
        for (name, reason), number in translation.malformed.items():
            self.counts[name, REJECTED, reason] += number
            self.codes["malformed"] += number
            error = f"{name}: {reason}" if name else reason
            self.rejections += [Rejection(now, None, source, "malformed", error)] * min(number, MOST_REJECTIONS)

    def add(self, taken: intake.Intake, names: Sequence[str], outcomes: Sequence[Outcome]) -> None:
        """Add events with the tool's names of them, and the outcomes of the valid ones."""
        for place, outcome in zip(taken.places, outcomes, strict=True):
            if outcome is not Outcome.CONFLICT:
                self.counts[names[place], outcome.value, ""] += 1
        for refused in taken.with_conflicts(outcomes):
            why = refused.rejection
            reason = f"{why.code}: {why.error.partition(':')[0]}"  # the field, without its value
            self.counts[names[refused.place - taken.first], REJECTED, reason] += 1
            self.codes[why.code] += 1
            self.rejections.append(why)


def connection_of(hook: KnownHook) -> Connection:
    """Return a hook's decisions as the translation takes them."""
    return Connection(
        prospect_key=hook.prospect_key,
        plain_prospects=hook.prospects != PROSPECTS[0],
        own_campaign_ids=hook.own_campaign_ids,
        categories={label: MEANINGS[meaning] for label, meaning in hook.labels.items() if meaning in MEANINGS},
    )


def part_of_events(events: Sequence[object]) -> Part:
    """Return translated events, which are JSON objects already."""
    return Part(events, lambda event: event)


def rehearsed(table: Provider, hook: KnownHook, body: bytes, headers: Mapping[str, str], now: int) -> Effect:
    """Return what a delivery would become in an empty log, at this time (ms, UTC); nothing is stored or counted."""
    translation = translate(table, body, connection_of(hook), now, headers)
    taken = intake.take(part_of_events(translation.events), 0, now)
    effect = Effect()
    effect.add_unused(translation, table.name, now)
    effect.add(taken, translation.names, [Outcome.ACCEPTED] * len(taken.events))
    return effect
