"""Holds that the documents are whole: links lead somewhere, paths exist, every decision has its form and is listed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "client/README.md")]
    + list((ROOT / "docs").rglob("*.md"))
)
DECISIONS = sorted(path for path in (ROOT / "docs" / "decisions").glob("*.md") if path.name != "README.md")
PARTS = ("Status", "Context", "Decision", "Consequences")
CODE = re.compile(r"^\s*```.*?^\s*```$", re.DOTALL | re.MULTILINE)

_ROOMS = "domain|connectors|projections|api|service|tests|benchmarks|page|docs|examples|client"
_PATH = re.compile(rf"`((?:{_ROOMS})/[\w./-]*)")  # in backquotes; a colon or a blank ends it
_MODULE = re.compile(rf"python -m ((?:{_ROOMS})[\w.]*)")


def name(path: Path) -> str:
    """Return a document's path as the tests show it."""
    return str(path.relative_to(ROOT))


def headings(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", CODE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    """Files are moved; what points at them, and at their headings, moves along."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", document.read_text(encoding="utf-8"))):
        target, _, anchor = link.partition("#")
        file = document.parent / target if target else document
        if "://" not in link and (
            not file.exists() or (anchor and anchor not in headings(file.read_text(encoding="utf-8")))
        ):
            dead.append(link)
    assert not dead


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_path_that_is_named_exists(document: Path) -> None:
    """A module or a test in backquotes is one that can be opened, one behind `python -m` can be run."""
    text = CODE.sub("", document.read_text(encoding="utf-8"))
    assert not [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    modules = [ROOT / module.replace(".", "/") for module in _MODULE.findall(text)]
    assert not [path for path in modules if not (path.is_dir() or path.with_suffix(".py").is_file())]


@pytest.mark.parametrize("decision", DECISIONS, ids=name)
def test_a_decision_has_its_four_parts_in_order(decision: Path) -> None:
    """Status, context, decision and consequences, each of which begins a paragraph."""
    begun = re.findall(r"^\*\*(\w+)[.:]\*\*", decision.read_text(encoding="utf-8"), re.MULTILINE)
    assert [part for part in begun if part in PARTS] == list(PARTS)


def test_every_decision_is_listed_once() -> None:
    """The list is how a decision is found; what it says of each is not empty."""
    text = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[([\w-]+\.md)\]\(\1\): \S", text, re.MULTILINE)
    assert sorted(listed) == [decision.name for decision in DECISIONS]


def test_the_measurements_begin_with_ten_rows() -> None:
    """The first screen of the page about speed has what, ours, limit, goal, and whether it is reached."""
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    table = text.split("\n\n")[1].splitlines()
    rows = [row.strip("| ").split(" | ") for row in table[2:]]
    assert len(rows) == 10
    assert all(row[-1].startswith(("reached", "missed")) for row in rows)
