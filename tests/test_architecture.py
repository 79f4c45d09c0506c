"""Holds the house's one rule: imports go one way, domain ◀ projections ◀ api ◀ service."""

import ast
from pathlib import Path

ROOMS = ("domain", "projections", "api", "service")
HOUSE = Path(__file__).parent.parent


def imports(file: Path) -> list[tuple[int, str]]:
    """Return the line and the top-level package of each import in a file, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.relative_to(HOUSE)}:{node.lineno}: say the whole name of what is imported"
            found.append((node.lineno, (node.module or "").split(".")[0]))
    return found


def test_imports_go_one_way() -> None:
    """No room knows of the rooms that stand on it, nor of the tests."""
    wrong = [
        f"{file.relative_to(HOUSE)}:{line}: {room}/ must not import {imported}/"
        for place, room in enumerate(ROOMS)
        for file in sorted((HOUSE / room).rglob("*.py"))
        for line, imported in imports(file)
        if imported in (*ROOMS[place + 1 :], "tests", "benchmarks")
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_says_why_it_exists() -> None:
    """Its first sentence is its docstring."""
    silent = [
        str(file.relative_to(HOUSE))
        for folder in (*ROOMS, "tests", "benchmarks")
        for file in sorted((HOUSE / folder).rglob("*.py"))
        if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert not silent


def test_the_pure_parts_touch_no_database_and_no_clock() -> None:
    """What a number means is decided without either."""
    pure = [HOUSE / "domain" / "events.py", HOUSE / "domain" / "instants.py"]
    pure += [HOUSE / "projections" / f"{name}.py" for name in ("metrics", "journey", "campaign")]
    wrong = [
        f"{file.relative_to(HOUSE)}:{line}: imports {imported}"
        for file in pure
        for line, imported in imports(file)
        if imported in ("psycopg", "psycopg_pool", "time", "random", "os")
    ]
    assert not wrong
