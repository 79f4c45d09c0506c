"""Finds the statements that our modules compose when they are imported."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType

from psycopg.sql import Composable

import api
import domain
import projections
import service
from domain.citus import Forms
from projections.statements import Statement

_BEGINS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
_PARAMETER = re.compile(r"%\(\w+\)[sb]|%[sb]|\$\d+")
_NAME = re.compile(r"\{\w*\}")


def statements() -> dict[str, set[str]]:
    """Return each whole statement, normal, with the names of what holds it: of the routed form alone where it has two.

    Pieces of statements, and forms that still lack pieces, are not among them.
    """
    collected: dict[str, set[str]] = {}
    plain: set[str] = set()
    for package in (domain, projections, api, service):
        for module in _modules(package):
            for name, value in vars(module).items():
                if isinstance(value, Forms) and value.plain != value.routed:
                    plain.add(normal(value.plain.decode()))
                for text in _texts(value):
                    if _BEGINS.match(text) and not _NAME.search(text):
                        collected.setdefault(normal(text), set()).add(f"{module.__name__}.{name}")
    return {text: names for text, names in collected.items() if text not in plain}


def normal(statement: str) -> str:
    """Return a statement with `$1` for each parameter and without needless space."""
    return " ".join(_PARAMETER.sub("$1", statement).replace("%%", "%").split())


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(module.name)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Forms):
        yield value.routed.decode()
    elif isinstance(value, Statement):
        yield value.routed.text.decode()
    elif isinstance(value, Composable):
        yield value.as_string(None)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
