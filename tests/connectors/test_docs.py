"""Holds docs/providers.md to the tables: each tool's events, recipes of ids and back-fill are as they are published."""

import re
from pathlib import Path

import pytest

from connectors.providers import PROVIDERS
from connectors.table import Provider

PAGE = (Path(__file__).parent.parent.parent / "docs" / "providers.md").read_text(encoding="utf-8")
SECTIONS = {
    heading.removeprefix("Amazon ").lower(): text
    for heading, text in re.findall(r"^###? (.+)\n((?:(?!^##).*\n)*)", PAGE, re.MULTILINE)
}


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_the_page_names_each_event_and_each_recipe(provider: Provider) -> None:
    section = SECTIONS[provider.name]
    assert not [names for names in provider.events if not re.search(rf"\b{names.split(' | ')[0]}\b", section)]
    rules = provider.events.values()
    used = {recipe for rule in rules for recipe in rule.identity or ([] if provider.own_id else provider.identity)}
    assert {f"h({', '.join(recipe)})" for recipe in used} == set(re.findall(r"`(h\(.+?\))`", section, re.DOTALL))


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_the_page_says_five_things_of_each_and_who_has_a_back_fill(provider: Provider) -> None:
    section = SECTIONS[provider.name]
    assert re.findall(r"^- \*\*(.+?)\*\*", section, re.MULTILINE) == [
        "Paste",
        "Tick",
        "What the numbers mean.",
        "Check",
        "Unsure",
    ]
    assert (f"--from {provider.name}" in section) == bool(provider.export)
    assert f"Source `{provider.name}{'/' if provider.tenant else ''}`" in section
