"""Imports of many modules at once."""

from __future__ import annotations

import contextlib
import gc
import sys
import warnings
from collections.abc import Iterator

UNUSED = ("httpx._main", "pydantic.v1")
"""Modules that libraries import if they can, and that commands do not use: the command line of
httpx, and the models of Pydantic 1, for which FastAPI looks in the annotations of routes."""


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Pauses garbage collection in a block that imports modules.

    They leave no garbage, and to look for it takes a seventh of the time. What is loaded at the end
    of the block is not scanned again.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def importing_for_command() -> Iterator[None]:
    """Does the same in the process of a command, which uses little of what it imports.

    Models of Pydantic that are defined in the block, and the fields of FastAPI's routes, are
    compiled at their first use. The import of the modules of `UNUSED` fails as if they were not
    installed: None in `sys.modules` says so
    (https://docs.python.org/3/reference/import.html#the-module-cache). Both libraries do without.
    """
    from pydantic import BaseModel, ConfigDict
    from pydantic.warnings import UnsupportedFieldAttributeWarning

    modules: dict[str, object] = sys.modules  # type: ignore[assignment] # its type has no None
    left_out = [name for name in UNUSED if name not in modules]
    modules.update(dict.fromkeys(left_out))
    # FastAPI ignores this warning, but only for as long as it defines a route.
    warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)
    config, BaseModel.model_config = BaseModel.model_config, ConfigDict(defer_build=True)
    try:
        with importing():
            yield
    finally:
        BaseModel.model_config = config
        for name in left_out:
            modules.pop(name, None)
