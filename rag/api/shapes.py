"""JSON Schemas of the checks that request models make in code, for the OpenAPI document.

A keyword after "x-", as in `"x-maximum": "limits.top_k"`, has a name in place of its value:
`rag.api.openapi` inserts the value in force.
"""

from __future__ import annotations

import sys
from typing import Any

Schema = dict[str, Any]
NULL: Schema = {"type": "null"}
TEXT: Schema = {"type": "string"}
NO_NUL = r"^[^\x00]*$"
"""Text without NUL, which PostgreSQL cannot store."""
NAME = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
"""Text without control characters and line ends."""
HAS_WORDS = r"\S"
WEB_ADDRESS = r"^https?://[A-Za-z0-9]+(\.[A-Za-z0-9]+)*(:[0-9]{1,4})?(/[A-Za-z0-9._~/-]*)?$"
"""Plain web addresses; others are accepted too, if they can be fetched."""
CURSOR = r"^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-]{2}==|[A-Za-z0-9_-]{3}=)?$"
"""Base64 for URLs."""
FILTER_VALUES = 1_000
"""Most values in the lists of all filters of a question together.

A thousand words are looked up in a millisecond, but each number is compared with each chunk that
the other filters let through.
"""
QUESTION: Schema = {"type": "string", "minLength": 1, "pattern": HAS_WORDS}


def either(*options: Schema) -> Schema:
    """Returns the schema of values that fit one of these."""
    return {"anyOf": list(options)}


def list_of(item: Schema, **bounds: Any) -> Schema:
    """Returns the schema of a list of such items."""
    return {"type": "array", "items": item, **bounds}


SCALAR = either(
    {"type": "string", "pattern": NO_NUL},
    {"type": "boolean"},
    {"type": "number", "minimum": -sys.float_info.max, "maximum": sys.float_info.max},
)
VALUE = either(*SCALAR["anyOf"], list_of(SCALAR))
_BOUND = either(SCALAR["anyOf"][2], {"type": "string", "format": "date"})
FILTER = either(
    {"properties": {"op": {"const": "eq"}, "value": SCALAR}},
    {
        "properties": {
            "op": {"const": "in"},
            "value": either(SCALAR, list_of(SCALAR, minItems=1, maxItems=FILTER_VALUES)),
        }
    },
    {"properties": {"op": {"enum": ["gt", "gte", "lt", "lte"]}, "value": _BOUND}},
)


DIFY_CONDITION = either(
    {"properties": {"comparison_operator": {"enum": ["is", "="]}, "value": SCALAR}},
    {
        "properties": {
            "comparison_operator": {"const": "in"},
            "value": either(SCALAR, list_of(SCALAR, minItems=1, maxItems=FILTER_VALUES // 20)),
        }
    },
    {
        "properties": {
            "comparison_operator": {"enum": [">", "<", "\u2265", "\u2264", "after", "before"]},
            "value": _BOUND,
        }
    },
)


def conversation(text: Schema, question: Schema) -> tuple[Schema, Schema]:
    """Returns schemas of a turn and a conversation: users' turns hold `question`, others `text`."""
    user = {"properties": {"role": {"const": "user"}, "content": question}}
    others = {"properties": {"role": {"not": {"const": "user"}}, "content": text}}
    user_turn = {"properties": {"role": {"const": "user"}}, "required": ["role"]}
    return either(user, others), {"contains": user_turn}


TURN, CONVERSATION = conversation(TEXT, QUESTION)
_PART: Schema = {
    "type": "object",
    "properties": {"type": {"enum": ["text", "input_text", "output_text"]}, "text": TEXT},
    "required": ["type", "text"],
}
_PART_WITH_WORDS = {
    "properties": {"text": {"type": "string", "pattern": HAS_WORDS}},
    "required": ["text"],
}
CHAT_CONTENT = either(TEXT, list_of(_PART), NULL)
CHAT_TURN, _ = conversation(
    CHAT_CONTENT, either(QUESTION, list_of(_PART, contains=_PART_WITH_WORDS))
)
USER = either(TEXT, NULL)
QUERY = either(
    {"required": ["query"], "properties": {"query": TEXT, "messages": NULL}},
    {"required": ["messages"], "properties": {"messages": {"type": "array"}, "query": NULL}},
)
FEEDBACK = either(
    *(
        {"required": [field], "properties": {field: TEXT}}
        for field in ("rating", "comment", "correction")
    )
)
DOCUMENT = either(
    {"required": ["text"], "properties": {"text": TEXT}},
    {
        "required": ["uri"],
        "properties": {
            "uri": {"type": "string", "pattern": WEB_ADDRESS},
            "text": NULL,
            "title": NULL,
            "meta": {"type": "object", "maxProperties": 0},
        },
    },
)
RESPONSE_FORMAT = either(
    {
        "required": ["json_schema"],
        "properties": {"type": {"const": "json_schema"}, "json_schema": {"type": "object"}},
    },
    {"properties": {"type": {"enum": ["text", "json_object"]}, "json_schema": NULL}},
)
_STOP: Schema = {"type": "string", "maxLength": 256}
STOP = either(_STOP, list_of(_STOP, maxItems=16), NULL)
_WRITTEN: Schema = {"type": "string", "minLength": 1}
INPUT = either(_WRITTEN, list_of(_WRITTEN, minItems=1))
RANKED_TEXT = either(TEXT, {"type": "object", "properties": {"text": TEXT}, "required": ["text"]})
SEED = either({"type": "integer", "x-minimum": "least_seed", "x-maximum": "seed"}, NULL)
DIMENSIONS = either(
    {"type": "integer", "x-minimum": "embedder.dim", "x-maximum": "embedder.dim"}, NULL
)
