"""The endpoint of the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from rag.api.deps import PrincipalDep, StorageDep, needs
from rag.api.routes.common import PROBLEMS, json_response
from rag.catalog.usage import Group
from rag.errors import InputError
from rag.gateway.reports import period_of, report

router = APIRouter(prefix="/v1", tags=["usage"], responses=PROBLEMS)
Groups = Annotated[list[Group], Query(max_length=7, description="Repeat it to group by several.")]
_DATE = r"(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?"
Moment = Annotated[
    str | None,
    Query(
        # pydantic's own datetime takes numbers, too.
        pattern=rf"^{_DATE}(T{_TIME}(Z|[+-]{_TIME})?)?$",
        description="A date, or a date and a time; UTC, unless it has an offset.",
    ),
]


class UsageSum(BaseModel):
    """Sums of a group. `requests` are those that began in the period.

    The tokens of `interrupted` ones are not known. Those of `estimated` ones were counted here: the
    model's server did not report them.
    """

    tenant: str | None = None
    key: str | None = None
    subject: str | None = None
    model: str | None = None
    feature: str | None = None
    outcome: str | None = None
    day: str | None = None
    requests: int
    interrupted: int
    estimated: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    gpu_seconds: float
    cost: float


class Outlier(BaseModel):
    """A request that cost many times what is usual for its tenant."""

    tenant: str
    key_id: str
    subject: str
    feature: str
    model: str
    outcome: str
    trace_id: str
    input_tokens: int
    output_tokens: int
    cost: float
    started_at: str


class UsageReport(BaseModel):
    """The use from `since` to `until`; groups are the most expensive first."""

    since: str
    until: str
    groups: list[UsageSum]
    total: UsageSum | None
    outliers: list[Outlier]


@router.get("/usage", response_model=UsageReport, dependencies=[needs("read")])
async def get_usage(
    storage: StorageDep,
    caller: PrincipalDep,
    by: Groups = [],  # noqa: B006 - FastAPI copies it
    since: Moment = None,
    until: Moment = None,
) -> Response:
    """Sums up tokens and cost, of this month unless `since` says otherwise.

    A key with the scope `admin` sees the whole tenant, another one what it used itself.
    """
    period = period_of(caller, since=_read(since), until=_read(until))
    return json_response(await report(storage.catalog.usage, period, by))


def _read(moment: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(moment) if moment else None
    except ValueError as error:
        raise InputError(f"{moment} is no time: {error}.") from error
