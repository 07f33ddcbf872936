"""Data sets that are stored in Langfuse.

They are read from its REST API, `GET /api/public/dataset-items` of
https://api.reference.langfuse.com, and not by its client, which rejects the pages of servers older
than itself because a field is missing there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from pydantic import BaseModel, Field, ValidationError

from rag.errors import ConfigError, NotFoundError, UpstreamError
from rag.privacy.redaction import masked, words

AT_ONCE = 100
"""Items in one page: Langfuse's maximum."""
SECONDS = 30.0
"""Seconds that the request of one page may take."""


class SetItem(BaseModel):
    """An item as Langfuse has it: input, expected output and metadata may be any JSON."""

    id: str
    status: str = "ACTIVE"
    input: Any = None
    expected_output: Any = Field(None, alias="expectedOutput")
    dataset_id: str = Field("", alias="datasetId")
    metadata: Any = None


class _Meta(BaseModel):
    total_pages: int = Field(alias="totalPages")


class _Page(BaseModel):
    data: list[SetItem]
    meta: _Meta


def set_items(url: str, *, public_key: str, secret_key: str, name: str) -> list[SetItem]:
    """Returns the items of a data set that are not archived, in Langfuse's order.

    Raises:
        NotFoundError: There is no such data set.
        ConfigError: The keys are refused.
        UpstreamError: Langfuse cannot be reached, or its response is not valid.
    """
    base = url.rstrip("/")
    keys = (public_key, secret_key)
    try:
        with httpx.Client(base_url=base, auth=keys, timeout=SECONDS) as http:
            return [item for item in _items(http, name) if item.status != "ARCHIVED"]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UpstreamError(
            f"Langfuse at {masked(base)} cannot be reached: {words(error, base)}."
        ) from None
    except ValidationError as error:
        raise UpstreamError(f"{masked(base)} does not answer as Langfuse does.") from error


def _items(http: httpx.Client, name: str) -> Iterator[SetItem]:
    page = pages = 1
    while page <= pages:
        params: dict[str, str | int] = {"datasetName": name, "page": page, "limit": AT_ONCE}
        response = http.get("/api/public/dataset-items", params=params)
        _check(response, name)
        found = _Page.model_validate_json(response.content)
        yield from found.data
        page, pages = page + 1, found.meta.total_pages


def _check(response: httpx.Response, name: str) -> None:
    base = masked(str(response.request.url.copy_with(raw_path=b"")))
    match response.status_code:
        case httpx.codes.OK:
            return
        case httpx.codes.NOT_FOUND:
            raise NotFoundError(f"Langfuse at {base} has no data set {name!r}.")
        case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN:
            raise ConfigError(
                f"Langfuse at {base} refuses the keys: mend traces.public_key and"
                " traces.secret_key."
            )
        case status:
            raise UpstreamError(f"Langfuse at {base} answered {status}.")
