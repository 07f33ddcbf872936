"""The client has every endpoint and every field of the OpenAPI document, and no others."""

from __future__ import annotations

import ast
import collections.abc
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import unquote

import pytest
from pydantic import BaseModel
from typing_extensions import is_typeddict

import rag
from rag import client
from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.client.call import Call
from rag.client.endpoints import Endpoints, Stream, _Bound
from rag.client.version import VERSION
from rag.settings.tree import load_settings
from rag.types import Retraction
from tests.places import ROOT

Json = dict[str, Any]
OTHERS = {"clients", "openai"}
"""Tags of the endpoints in the formats of other programs."""
MODEL = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "tiny"}
"""A generator with which the document has every format of an answer."""
MAKES: dict[str, Callable[..., Call[Any]]] = {
    name: found._make for name, found in vars(Endpoints).items() if isinstance(found, _Bound)
}
NOT_SENT = {"on_progress", "fresh"}
"""Parameters that are no fields: `fresh` is a header."""
OTHERWISE_SENT = {
    "ask": {"stream"}, "stream": {"stream"}, "upload_files": {"uri"}, "create_file": {"purpose"}
}  # fmt: skip
"""Fields that no parameter has: `stream` is a method, a file has its `uri`, and one purpose."""
FILES = {"upload_files": "files", "create_file": "file"}
"""The fields of a form that are the content of files."""


@pytest.fixture(scope="module")
def document() -> Json:
    return app_without_lifespan(load_settings(generator=MODEL), Running()).openapi()


def made(name: str) -> Call[Any]:
    """Returns the call of a method whose required arguments stand for themselves."""
    make = MAKES[name]
    required = [
        each for each in inspect.signature(make).parameters.values() if each.default is each.empty
    ]
    return make(*(f"{{{each.name}}}" if each.annotation == "str" else [] for each in required))


def operation_of(name: str, document: Json) -> Json:
    call = made(name)
    found: Json = document["paths"][unquote(call.path)][call.method.lower()]
    return found


def test_every_endpoint_has_a_method_and_every_method_an_endpoint(document: Json) -> None:
    documented = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if not OTHERS & set(operation["tags"])
    }
    calls = [made(name) for name in MAKES]
    assert len(documented) > 25
    assert {(call.method, unquote(call.path)) for call in calls} == documented


@pytest.mark.parametrize("name", MAKES)
def test_its_parameters_are_those_of_the_document(name: str, document: Json) -> None:
    operation = operation_of(name, document)
    kind = "multipart/form-data" if name in FILES else "application/json"
    body = operation.get("requestBody", {}).get("content", {}).get(kind, {}).get("schema", {})
    schemas = {each["name"]: each["schema"] for each in operation.get("parameters", [])}
    schemas |= resolved(body, document).get("properties", {})
    documented = {
        key: without_null(of_schema(schema, document))
        for key, schema in schemas.items()
        if key not in OTHERWISE_SENT.get(name, set())
    }
    hints = get_type_hints(MAKES[name])
    taken = {
        key.rstrip("_"): without_null(of_hint(hint))
        for key, hint in hints.items()
        if key not in {"return", *NOT_SENT}
    }
    if name in FILES:
        del documented[FILES[name]], taken[FILES[name]]
    assert taken == documented


@pytest.mark.parametrize("name", MAKES)
def test_its_result_is_that_of_the_document(name: str, document: Json) -> None:
    responses = operation_of(name, document)["responses"]
    (status,) = (code for code in responses if code in ("200", "201", "202", "204"))
    content = responses[status].get("content", {})
    (result,) = get_args(get_type_hints(MAKES[name])["return"])
    if not isinstance(result, type) or not issubclass(result, BaseModel):
        assert "application/json" not in content
        return
    documented = of_schema(content["application/json"]["schema"], document)
    if result is client.Health:  # documented as texts by name
        documented = ("object", (("status", "string"),))
    assert of_hint(result) == documented


def test_the_events_are_those_that_the_pipeline_sends() -> None:
    assert set(client.RetractEvent.model_fields) == {"type", *Retraction.__annotations__}
    assert isinstance(vars(Endpoints)["stream"], Stream)


def test_it_has_the_version_of_the_server() -> None:
    assert rag.__version__ == VERSION == client.__version__


def test_it_imports_httpx_and_pydantic_alone() -> None:
    imported: set[str] = set()
    for file in (ROOT / "rag" / "client").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level <= 1, file  # nothing above the package
                if node.level == 0:
                    imported.add((node.module or "").partition(".")[0])
    # pydantic needs the last of them, too.
    assert imported - sys.stdlib_module_names == {"httpx", "pydantic", "typing_extensions"}


def resolved(schema: Json, document: Json) -> Json:
    if "$ref" not in schema:
        return schema
    found: Json = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def of_schema(schema: Json, document: Json) -> Any:  # noqa: PLR0911 - one for each form
    """Returns what a JSON schema describes, without its bounds, in the form of `of_hint`."""
    schema = resolved(schema, document)
    if "properties" in schema:
        fields = schema["properties"].items()
        return ("object", tuple(sorted((k, of_schema(v, document)) for k, v in fields)))
    if "enum" in schema:
        return ("words", frozenset(schema["enum"]))
    if "anyOf" in schema:
        return union([of_schema(each, document) for each in schema["anyOf"]])
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return ("tuple", *(of_schema(each, document) for each in schema["prefixItems"]))
        case "array":
            return ("list", of_schema(schema["items"], document))
        case "object":
            values = schema.get("additionalProperties", True)
            return ("dict", "any" if values is True else of_schema(values, document))
        case None:
            return "any"
        case plain:
            return plain


SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def of_hint(hint: Any) -> Any:  # noqa: PLR0911 - one for each form
    """Returns what a type describes, in the form of `of_schema`."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint in SCALARS:
        return SCALARS[hint]
    if hint is Any:
        return "any"
    if origin is Literal:
        return ("words", frozenset(inner))
    if origin in (Union, types.UnionType):
        return union([of_hint(each) for each in inner])
    if origin is tuple:
        return ("tuple", *map(of_hint, inner))
    if origin in (list, collections.abc.Sequence):
        return ("list", of_hint(inner[0]))
    if origin in (dict, collections.abc.Mapping):
        return ("dict", of_hint(inner[1]))
    if is_typeddict(hint):
        fields = get_type_hints(hint)
    elif isinstance(hint, type) and issubclass(hint, BaseModel):
        fields = {name: each.annotation for name, each in hint.model_fields.items()}
    else:
        return hint
    return ("object", tuple(sorted((name, of_hint(each)) for name, each in fields.items())))


def union(options: list[Any]) -> Any:
    """Returns a union in one form: text beside words is a word that is not known yet."""
    flat = {part for each in options for part in (each if isinstance(each, frozenset) else [each])}
    if any(isinstance(each, tuple) and each[0] == "words" for each in flat):
        flat.discard("string")
    if "number" in flat:
        flat.discard("integer")
    return next(iter(flat)) if len(flat) == 1 else frozenset(flat)


def without_null(shape: Any) -> Any:
    """Returns the shape of a parameter: None leaves it out, whatever the field accepts."""
    return (
        union([each for each in shape if each != "null"]) if isinstance(shape, frozenset) else shape
    )
