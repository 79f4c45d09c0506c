"""The time zones, from the `tzdata` package alone: what the machine has would make numbers differ from node to node."""

from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

_NOT_ZONES = {"Factory"}  # the zone of a machine without a configured one


@cache
def time_zones() -> frozenset[str]:
    """Return the names of all IANA time zones."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()) - _NOT_ZONES


@cache
def time_zone(name: str) -> ZoneInfo:
    """Return the time zone of one of these names, the same object each time."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
