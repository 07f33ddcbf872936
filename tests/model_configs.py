"""Configurations of published models: the fields that the planner reads, with their source."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from rag.operations.capacity.config_fields import Fields
from rag.operations.capacity.model_shape import ModelShape
from rag.operations.capacity.reading import shape_of
from tests.places import ROOT


@cache
def configs() -> dict[str, dict[str, Any]]:
    text = (ROOT / "tests" / "data" / "model_configs.json").read_text()
    return {name: entry["config"] for name, entry in json.loads(text).items()}


def published(name: str, **changed: Any) -> ModelShape:
    """Returns the shape of a published model, with some fields changed; None removes a field."""
    fields = {key: v for key, v in (configs()[name] | changed).items() if v is not None}
    return shape_of(Fields(fields, source=f"{name}/config.json"), name=name)
