"""The rules that statements obey so that Citus takes them, and sends each to the node of its one workspace.

Each is a statement that Citus was seen to refuse, or to answer by all nodes; docs/scaling.md.
"""

import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp

from service.citus import DISTRIBUTED, LOCAL, REFERENCE

_TIMES = {"CLOCK_TIMESTAMP", "STATEMENT_TIMESTAMP", "TRANSACTION_TIMESTAMP", "NOW", "TIMEOFDAY"}
_VOLATILE = {"CLOCK_TIMESTAMP", "TIMEOFDAY", "RANDOM", "SET_CONFIG", "GEN_RANDOM_UUID"}
_COLUMN = "workspace_id"
_CURSOR = re.compile(r"DECLARE .*? FOR ", re.DOTALL)
_BEGINS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")


def faults(statement: str) -> list[str]:
    """Return what is wrong with a statement, given as it is sent, besides that it asks all nodes."""
    return [fault for tree in _trees(statement) for fault in (*_of_changes(tree), *_of_tables(tree), *_of_locks(tree))]


def asks_all_nodes(statement: str) -> bool:
    """Return whether a part of a statement reads or changes workspaces' rows without naming the workspace."""
    return any(_unnamed(level) for tree in _trees(statement) for level in _levels(tree))


def _trees(statement: str) -> Iterator[exp.Expr]:
    statement = _CURSOR.sub("", statement)
    if _BEGINS.match(statement):  # others change no rows, but for COPY, whose rows name their workspace
        for tree in sqlglot.parse(statement, dialect="postgres"):
            assert isinstance(tree, exp.Query | exp.DML), statement
            yield tree


def _tables(tree: exp.Expr) -> set[str]:
    return {table.name for table in tree.find_all(exp.Table)}


def _calls(tree: exp.Expr, names: set[str]) -> bool:
    called = (each.name if isinstance(each, exp.Anonymous) else each.sql_name() for each in tree.find_all(exp.Func))
    times = isinstance(tree, exp.CurrentTimestamp) or tree.find(exp.CurrentTimestamp) is not None
    return (times and "NOW" in names) or any(name.upper() in names for name in called)


def _of_changes(tree: exp.Expr) -> Iterator[str]:
    for change in tree.find_all(exp.Insert, exp.Update, exp.Delete):
        target = change.this.find(exp.Table)
        assert target is not None
        if target.name in (*DISTRIBUTED, *REFERENCE):
            yield from _of_set(change.args.get("conflict") if isinstance(change, exp.Insert) else change)
            yield from _of_returning(change.args.get("returning"))
            if isinstance(change, exp.Insert):
                yield from _of_insert(change, target)


def _of_set(part: exp.Expr | None) -> Iterator[str]:
    if part is None:
        return
    if _calls(part, _VOLATILE):
        yield "a volatile function in UPDATE, DELETE or DO UPDATE"
    if any(_calls(each, _TIMES) for each in part.find_all(exp.Case, exp.Coalesce)):
        yield "a function of the time in CASE or COALESCE"
    if any(bracket.find(exp.Slice) for bracket in part.find_all(exp.Bracket)):
        yield "a slice of an array in UPDATE, which ends the coordinator"


def _of_returning(returning: exp.Expr | None) -> Iterator[str]:
    if returning is None:
        return
    if returning.find(exp.Parameter):
        yield "a parameter in RETURNING"
    if _calls(returning, _TIMES | _VOLATILE):
        yield "a function of the time in RETURNING"


def _of_insert(insert: exp.Insert, target: exp.Table) -> Iterator[str]:
    if insert.find_ancestor(exp.CTE):
        yield "INSERT in a WITH"
    if isinstance(insert.expression, exp.Query) and not target.alias:
        yield "INSERT … SELECT without an alias of the target"


def _of_tables(tree: exp.Expr) -> Iterator[str]:
    tables = _tables(tree)
    if tables & set(LOCAL) and tables & {*DISTRIBUTED, *REFERENCE}:
        yield "a table of the coordinator alone together with a shared one"


def _of_locks(tree: exp.Expr) -> Iterator[str]:
    for level in _levels(tree):
        if isinstance(level, exp.Select) and level.args.get("locks") and _unnamed(level):
            yield "FOR UPDATE of several workspaces"


def _levels(tree: exp.Expr) -> Iterator[exp.Expr]:
    """Yield each SELECT, UPDATE and DELETE, also those within others."""
    yield from tree.find_all(exp.Select, exp.Update, exp.Delete)


def _is_of(level: exp.Expr, part: exp.Expr) -> bool:
    return part.find_ancestor(exp.Select, exp.Update, exp.Delete) is level


def _unnamed(level: exp.Expr) -> set[str]:
    """Return the workspaces' tables of one level that no `workspace_id = $1` confines, by themselves or by a join."""
    tables = [each for each in level.find_all(exp.Table) if _is_of(level, each)]
    if isinstance(level, exp.Select):
        insert = level.parent
        tables = [each for each in tables if not (isinstance(insert, exp.Insert) and each.find_ancestor(exp.Schema))]
    distributed = {each.alias_or_name for each in tables if each.name in DISTRIBUTED}
    if not distributed:
        return set()
    groups = [{each} for each in distributed]
    for equal in level.find_all(exp.EQ):
        if _is_of(level, equal):
            sides = {side for each in (equal.this, equal.expression) if (side := _side(each, distributed))}
            groups = _joined(groups, sides)
    for join in level.find_all(exp.Join):
        if _is_of(level, join) and any(each.name == _COLUMN for each in join.args.get("using") or ()):
            groups = _joined(groups, {join.this.alias_or_name, *(each.alias_or_name for each in tables[:1])})
    named = {each for group in groups if "$" in group for each in group}
    return distributed - named


def _side(side: exp.Expr, distributed: set[str]) -> str | None:
    side = side.this if isinstance(side, exp.Cast) else side
    if isinstance(side, exp.Parameter | exp.Literal):
        return "$"
    if not isinstance(side, exp.Column) or side.name != _COLUMN:
        return None
    if side.table:
        return str(side.table)
    return next(iter(distributed)) if len(distributed) == 1 else None


def _joined(groups: list[set[str]], sides: set[str]) -> list[set[str]]:
    if len(sides) < 2:
        return groups
    touched = [each for each in groups if each & sides]
    return [each for each in groups if not each & sides] + [set().union(sides, *touched)]
