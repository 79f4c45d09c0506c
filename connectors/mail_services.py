"""The one convention of tags by which a team's own sender tells a mail service what each mail is about."""

from dataclasses import dataclass
from typing import TypedDict

DELIVERED = "the mail is counted when it is accepted"
NOT_PERMANENT = "not a permanent bounce"
NOT_SENT = "nothing was sent, or not yet"
OTHER = "not about a mail of a campaign"


class Tagged(TypedDict):
    """The fields of a provider's table that the tags fill."""

    campaign: str
    prospect: str
    step: str
    variant: str
    sender: str
    tags: bool


@dataclass(frozen=True)
class Tags:
    """Where the tags stand in a payload: before and after the name of each."""

    before: str = ""
    after: str = ""

    def fields(self) -> Tagged:
        """Return the part of the table that the convention fills: an integer `campaign` is an id, another one a key."""
        return Tagged(
            campaign=self._of("campaign"),
            prospect=self._of("prospect"),
            step=self._of("step"),
            variant=self._of("variant"),
            sender=self._of("sender"),
            tags=True,
        )

    def _of(self, name: str) -> str:
        return f"{self.before}{name}{self.after}"
