"""Shows the tools for assistants by the client of the official SDK, over standard input and output."""

import json
import sys
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest

from tests.support.commands import Command
from tests.support.databases import Databases
from tests.support.examples import WORKED_EXAMPLE_ANALYTICS, api_key, worked_example
from tests.support.running import ROOT, Service, environment, serving, users_of

anyio = pytest.importorskip("anyio", reason="the extra mcp is not installed")
if find_spec("mcp") is None:
    pytest.skip("the extra mcp is not installed", allow_module_level=True)

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[tuple[Service, str]]:
    """Give a running service with the worked example in it, and the key of its reader."""
    with databases.lend() as url, users_of(url) as users, serving(url) as service:
        key = api_key(users, 340)
        position = service.post(340, key, *worked_example()).json["position"]
        assert service.dashboard(key, f"workspace_id=340&min_position={position}").status == 200
        yield service, api_key(users, 340, scopes=("read",))["X-API-Key"]


async def ask(url: str, key: str, *calls: tuple[str, dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Return the tools that are offered, and what comes of calls of them."""
    import mcp  # noqa: PLC0415 (it takes a second, in each process of tests)

    variables = environment(CAMPAIGN_ANALYTICS_URL=url, CAMPAIGN_ANALYTICS_API_KEY=key)
    parameters = mcp.StdioServerParameters(
        command=sys.executable, args=["-m", "service.cli", "mcp"], env=variables, cwd=ROOT
    )
    async with mcp.Client(mcp.stdio_client(parameters)) as client:
        tools = (await client.list_tools()).tools
        return tools, [await client.call_tool(name, arguments) for name, arguments in calls]


def call_tools(url: str, key: str, *calls: tuple[str, dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Do the same from where nothing is awaited."""
    answers: tuple[list[Any], list[Any]] = anyio.run(partial(ask, url, key, *calls))
    return answers


def answer(result: Any) -> Any:
    """Return what a tool has answered."""
    assert not result.is_error, result.content[0].text
    return json.loads(result.content[0].text)


def test_an_assistant_lists_counts_breaks_down_and_explains(served: tuple[Service, str]) -> None:
    """The answers of the API, by tools that are marked as read-only."""
    service, key = served
    period = {"start_date": "2026-11-01", "end_date": "2026-11-30", "workspace_id": "340"}
    tools, results = call_tools(
        service.url,
        key,
        ("list_campaigns", {}),
        ("numbers", {**period, "campaign_id": [123, 5]}),
        ("numbers", {**period, "per": "whole", "compare": "previous"}),
        ("breakdown", {**period, "by": "channel"}),
        ("explain", {"campaign_id": 123, "metric": "amount_of_replies"}),
    )
    assert {tool.name for tool in tools} == {"list_campaigns", "numbers", "breakdown", "explain"}
    assert all(tool.annotations.read_only_hint and tool.description for tool in tools)
    campaigns, numbers, whole, breakdown, explained = map(answer, results)
    assert [each["id"] for each in campaigns["campaigns"]] == [123]
    (campaign,) = numbers["campaigns"]
    assert campaign["analytics"].items() >= WORKED_EXAMPLE_ANALYTICS.items()
    assert (whole["campaigns"], whole["previous"]["amount_of_replies"]) == (1, 0)
    assert breakdown["by"] == ["channel"]
    assert (explained["value"], {each["prospect_id"] for each in explained["contributions"]}) == (3, {"a", "b"})


def test_a_tool_returns_the_error_of_the_service(served: tuple[Service, str]) -> None:
    """In its own words; a key that does not count, a workspace of others, a date that is none."""
    service, key = served
    _, results = call_tools(
        service.url,
        key,
        ("numbers", {"workspace_id": "777"}),
        ("numbers", {"start_date": "yesterday"}),
        ("explain", {"campaign_id": 9}),
    )
    for result, text in zip(results, ("403: Access denied", "400: start_date", "404: "), strict=True):
        assert result.is_error
        assert f"the service answers {text}" in result.content[0].text
    _, (result,) = call_tools(service.url, "ca_0.wrong", ("list_campaigns", {}))
    assert "the service answers 401: Invalid API key" in result.content[0].text
    _, (result,) = call_tools("http://127.0.0.1:9", key, ("list_campaigns", {}))
    assert "the service can't be asked" in result.content[0].text
    assert key not in result.content[0].text


def test_a_missing_key_url_or_extra_is_one_line_on_stderr(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, a URL, the extra itself."""
    monkeypatch.delenv("CAMPAIGN_ANALYTICS_API_KEY", raising=False)
    result = command("mcp")
    assert result == (2, "", "CAMPAIGN_ANALYTICS_API_KEY: expected an API key with the scope read\n")
    monkeypatch.setenv("CAMPAIGN_ANALYTICS_URL", "analytics")
    assert command("mcp").err == "CAMPAIGN_ANALYTICS_URL: expected a URL such as https://analytics.example.com\n"
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    assert command("mcp") == (1, "", "the extra mcp is not installed: pip install 'campaign-analytics[mcp]'\n")
