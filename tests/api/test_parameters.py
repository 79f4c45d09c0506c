"""Shows that a parameter is one object: a new one is read, refused, described and part of the cache key at once."""

from dataclasses import replace

import pytest
from falcon import testing

from api.answers.analytics import CAMPAIGNS
from api.answers.explain import EXPLAIN, PAGING
from api.answers.question import EVERYTHING, FORMAT, parse
from api.errors import BadRequestError
from api.http.parameters import ONE_WORKSPACE, Query, one_of

COLOUR = one_of("colour", "which colour", ("red", "blue"), "red")


def test_a_parameter_that_is_added_is_never_ignored_by_the_plain_answer() -> None:
    """The one statement without filters answers only what asks for nothing else."""
    query = Query(*EVERYTHING, COLOUR)
    plain = parse(testing.create_req(query_string="workspace_id=340&min_position=3&colour=red&format=json"), query)
    assert plain.is_plain
    assert plain.normal == parse(testing.create_req(query_string="workspace_id=340"), query).normal
    other = parse(testing.create_req(query_string="workspace_id=340&colour=blue"), query)
    assert not other.is_plain
    assert other.normal != plain.normal, "so neither a tag nor a cached body is shared"
    for parameter in EVERYTHING[2:]:
        assert parameter is FORMAT or parameter.name in query.read(_some(parameter.name)).normal()


def _some(name: str) -> str:
    values = {
        "campaign_id": "1",
        "as_of": "3",
        "campaign_key": "tool:1",
        "status": "ACTIVE",
        "start_date": "2026-11-01",
        "end_date": "2026-11-01",
        "timezone": "Europe/Berlin",
        "dated": "first_touch",
        "include": "extended",
        "format": "csv",
        "bom": "1",
    }
    return f"{name}={values[name]}"


def test_a_parameter_that_is_added_binds_the_cursor() -> None:
    """A cursor of another question is refused; only what differs from page to page is left out."""
    query = Query(*EXPLAIN.parameters.parameters, COLOUR)
    first, other, page = (
        query.read(f"metric=amount_of_replies{more}").normal(without=PAGING)
        for more in ("", "&colour=blue", "&limit=7&workspace_id=3")
    )
    assert first == page != other


def test_a_parameter_describes_itself() -> None:
    """The document has its name, its text and its words; a repeatable one is a list."""
    assert COLOUR.described() == {
        "name": "colour",
        "in": "query",
        "description": "which colour",
        "schema": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "required": False,
    }
    several = replace(COLOUR, repeatable=True).described()
    assert several["schema"] == {"type": "array", "items": COLOUR.schema, "minItems": 1}


def test_all_faults_are_named_at_once_and_a_near_miss_is_suggested() -> None:
    """Who sends several wrong parameters learns of each by one answer."""
    with pytest.raises(BadRequestError) as refused:
        CAMPAIGNS.parameters.read("campain_id=1&workspace_id=x&status=&start_date=2026-13-01&campaign_id=1,2")
    faults = dict(refused.value.faults)
    assert list(faults) == ["campain_id", "status", "workspace_id", "campaign_id", "start_date"]
    assert faults["campain_id"].endswith("did you mean campaign_id?")
    assert faults["campaign_id"].endswith("for several campaigns repeat the parameter")
    with pytest.raises(BadRequestError, match="is given twice"):
        Query(ONE_WORKSPACE).read("workspace_id=1&workspace_id=2")


def test_so_many_faults_of_a_query_are_named_and_no_more() -> None:
    """Each costs a look for the name that was meant, and repeats what is expected."""
    with pytest.raises(BadRequestError) as refused:
        CAMPAIGNS.parameters.read("&".join(f"unknown{number}=1" for number in range(500)))
    assert [name for name, _ in refused.value.faults] == [f"unknown{number}" for number in range(10)]
