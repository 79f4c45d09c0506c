"""What a workspace has decided about one tool that it has connected."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from connectors.table import INTERESTED, MEETING, NEUTRAL, NOT_INTERESTED, WAS_AUTOMATIC, Fact

# What a team can say that a label of its own means.
MEANINGS: Mapping[str, tuple[Fact, ...]] = {
    "interested": (INTERESTED,),
    "not_interested": (NOT_INTERESTED,),
    "neutral": (NEUTRAL,),
    "meeting": (MEETING, INTERESTED),
    "automatic": (WAS_AUTOMATIC,),
    "nothing": (),
}


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The decisions; only the key has no default."""

    prospect_key: bytes  # of the workspace, for prospects known by e-mail; made once, never changed
    plain_prospects: bool = False  # addresses as they are
    own_campaign_ids: bool = False  # integers of the tool are campaign ids themselves, as the team's worker posts them
    categories: Mapping[str, tuple[Fact, ...]] = field(default_factory=dict)  # by label, case-folded
    tenant: str = ""  # where the payload itself doesn't name the tool's account
