"""The tools that can be connected: a module each, with its table as `PROVIDER`; whatever module is here is known."""

from importlib import import_module
from pkgutil import iter_modules

from connectors.table import Provider


def _tables() -> dict[str, Provider]:
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return {table.name: table for table in (module.PROVIDER for module in modules)}


PROVIDERS: dict[str, Provider] = _tables()
