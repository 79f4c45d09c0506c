"""Shows that the recipes work: each is followed to the letter in a copy of the tree, and its tests run there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from projections.metrics import FOLD_VERSION
from tests.support.properties import FAST

HOUSE = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
COPIED = ("domain", "projections", "api", "service", "connectors", "page", "client", "tests", "examples", "docs")


class Edit(NamedTuple):
    """A change of a file: hunks of lines that begin with `+`, `-` or a blank, as in a diff without line numbers."""

    file: str
    hunks: list[list[str]]


class Command(NamedTuple):
    """A command; the next edit may need the digest that it prints."""

    line: str


def recipes() -> dict[str, list[Edit | Command]]:
    """Return the steps of each recipe by its title."""
    text = (HOUSE / "docs" / "recipes.md").read_text(encoding="utf-8")
    _, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    return {section.partition("\n")[0]: steps(section) for section in sections}


def steps(section: str) -> list[Edit | Command]:
    """Return the fenced blocks of a section: those of diffs are edits, those of the shell are commands."""
    listed: list[Edit | Command] = []
    for indent, kind, file, body in re.findall(
        r"^( *)```(diff|sh)(?: (\S+))?\n(.*?)^ *```$", section, re.DOTALL | re.MULTILINE
    ):
        lines = [line.removeprefix(indent) for line in body.splitlines()]
        if kind == "sh":
            listed += [Command(line) for line in lines]
        else:
            hunks = [part.splitlines() for part in re.split(r"^@@\n", "\n".join(lines) + "\n", flags=re.MULTILINE)]
            listed.append(Edit(file, hunks))
    return listed


def apply(edit: Edit, tree: Path, version: int, digest: str) -> None:
    """Make an edit; each hunk's old lines stand in the file exactly once. A new file has no old lines."""
    path = tree / edit.file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for hunk in edit.hunks:
        old = "".join(f"{line[1:]}\n" for line in hunk if not line.startswith("+"))
        new = "".join(f"{line[1:]}\n" for line in hunk if not line.startswith("-"))
        pattern = re.escape(numbered(old, version)).replace("…", ".*")
        assert len(re.findall(pattern, text)) == 1, f"{edit.file}: not there once:\n{old}"
        text = re.sub(pattern, lambda _, new=new: numbered(new, version).replace("…", digest), text)  # type: ignore[misc]
    path.write_text(text, encoding="utf-8")


def numbered(text: str, version: int) -> str:
    """Return the text with today's version of the fold for N."""
    return re.sub(r"\bN\b", str(version), re.sub(r"\bN \+ 1\b", str(version + 1), text))


@pytest.mark.processes
@pytest.mark.parametrize("title", recipes())
def test_a_recipe_works_as_it_stands(title: str, tmp_path: Path, server_url: str) -> None:
    """The last command passes; one before it may fail, since it says which digest the next step needs."""
    for folder in COPIED:
        shutil.copytree(HOUSE / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HOUSE / "pyproject.toml", tmp_path)
    output, passed, digest = "", False, "…"
    for step in recipes()[title]:
        if isinstance(step, Edit):
            apply(step, tmp_path, FOLD_VERSION, digest)
            continue
        ran = subprocess.run(
            [sys.executable, *shlex.split(step.line.removeprefix(".venv/bin/python "))],
            cwd=tmp_path,
            env={**os.environ, "TEST_DATABASE_URL": server_url, "PYTEST_ADDOPTS": f"--hypothesis-profile={FAST}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        output, passed = ran.stdout + ran.stderr, ran.returncode == 0
        [digest] = set(re.findall(r"and pin ([0-9a-f]{64})", output)) or {digest}
    assert passed, output
