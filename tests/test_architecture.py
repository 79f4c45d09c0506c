"""Holds the house's one rule: imports go one way, domain ◀ projections ◀ api ◀ service; connectors know domain only."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGES = ("domain", "connectors", "projections", "api", "service")
HOUSE = Path(__file__).parent.parent


# What the packages inside a room must not import; a prefix stands for all below it.
FORBIDDEN = {
    "connectors": ("eventsourcing", "falcon", "psycopg", "psycopg_pool", "domain.ledger", "domain.recorder"),
    "projections": ("connectors",),
    "projections/journeys": (
        "projections.building",
        "projections.queries",
        "projections.pipeline",
        "projections.statements",
        "psycopg",
    ),
    "projections/building": ("projections.queries",),
    "projections/queries": ("projections.building",),
    "api/http": ("api.answers", "api.auth", "api.ingest", "api.openapi", "psycopg"),
    "api/auth": ("api.answers", "api.ingest", "api.openapi"),
    "api/answers": ("api.ingest", "api.openapi"),
    "api/ingest": ("api.openapi",),
}


@cache
def imports(file: Path) -> list[tuple[int, str]]:
    """Return the line and the whole name of each module, or of what is taken from it, that a file imports."""
    imported = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.relative_to(HOUSE)}:{node.lineno}: say the whole name of what is imported"
            imported += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return imported


def wrong_imports(folder: str, forbidden: tuple[str, ...]) -> list[str]:
    """Return where files of a folder import what they must not."""
    return [
        f"{file.relative_to(HOUSE)}:{line}: must not import {imported}"
        for file in sorted((HOUSE / folder).rglob("*.py"))
        for line, imported in imports(file)
        if any(f"{imported}.".startswith(f"{name}.") for name in forbidden)
    ]


def test_imports_go_one_way() -> None:
    """No room knows of the rooms that stand on it, nor of the tests."""
    wrong = [
        fault
        for place, room in enumerate(PACKAGES)
        for fault in wrong_imports(room, (*PACKAGES[place + 1 :], "tests", "benchmarks"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("folder", "forbidden"), FORBIDDEN.items())
def test_packages_of_a_room_keep_apart(folder: str, forbidden: tuple[str, ...]) -> None:
    """What builds read models and what asks them do not know each other; the meaning of the numbers knows neither."""
    assert not wrong_imports(folder, forbidden)


def test_every_module_says_why_it_exists() -> None:
    """Its first sentence is its docstring."""
    silent = [
        str(file.relative_to(HOUSE))
        for folder in (*PACKAGES, "client", "tests", "benchmarks")
        for file in sorted((HOUSE / folder).rglob("*.py"))
        if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert not silent


def test_the_pure_parts_touch_no_database_and_no_clock() -> None:
    """What a number means is decided without either."""
    pure = (
        "domain/events.py",
        "domain/instants.py",
        "domain/campaign_keys.py",
        "projections/metrics.py",
        "projections/journeys",
        "connectors",
    )
    wrong = [
        f"{file.relative_to(HOUSE)}:{line}: imports {imported}"
        for name in pure
        for file in ([HOUSE / name] if name.endswith(".py") else sorted((HOUSE / name).rglob("*.py")))
        for line, imported in imports(file)
        if imported.split(".")[0] in ("psycopg", "psycopg_pool", "time", "random", "os")
    ]
    assert not wrong


def test_no_test_module_imports_another() -> None:
    """What tests share stands in tests/support; fixtures come from conftest by their names."""
    wrong = [
        f"{file.relative_to(HOUSE)}:{line}: imports {imported}"
        for file in sorted((HOUSE / "tests").rglob("*.py"))
        for line, imported in imports(file)
        if any(part.startswith("test_") or part == "conftest" for part in imported.split(".")[1:])
    ]
    assert not wrong


def test_the_client_for_workers_needs_nothing_of_ours_and_we_nothing_of_it() -> None:
    """It is a distribution of its own, of the standard library alone, for Python 3.9 and newer."""
    client = "campaign_analytics_client"
    wrong = [fault for room in PACKAGES for fault in wrong_imports(room, (client,))]
    for file in sorted((HOUSE / "client").rglob("*.py")):
        ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9))
        wrong += [
            f"{file.relative_to(HOUSE)}:{line}: imports {imported}"
            for line, imported in imports(file)
            if imported.split(".")[0] not in (client, *sys.stdlib_module_names)
        ]
    assert not wrong, "\n".join(wrong)
