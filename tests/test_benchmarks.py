"""Shows that the benchmarks still fit the service that they measure, since nothing runs them but `make bench`."""

from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import hello
from service.web.application import Application

HOME = Path(__file__).parents[1] / "benchmarks"
MODULES = sorted(f"benchmarks.{each.stem}" for each in HOME.glob("[!_]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_can_be_imported(name: str) -> None:
    """The names that it uses exist, and the statements that it composes have all their parts."""
    import_module(name)


def test_hello_world_runs_where_the_application_does() -> None:
    """It has each method that the worker calls."""
    methods = {name for name, each in vars(Application).items() if callable(each) and not name.startswith("_")}
    assert methods <= vars(hello.Application).keys()
