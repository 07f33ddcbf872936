"""The endpoints of evaluation runs on this host: a list, one of them, two side by side.

They are the tenant's runs in the folder `runs` of the data folder, where `rag eval run --out`
writes them.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from eval.runs.kept_runs import NAME, KeptRun, KeptRuns
from rag.api.auditing import audited, note_object
from rag.api.cursors import no_cursor
from rag.api.deps import PrincipalDep, SettingsDep, needs, state_of
from rag.api.routes.common import PROBLEMS, json_response
from rag.api.run_comparison import ComparisonsOut, compared
from rag.process.private_folder import RUNS
from rag.settings.tree import Settings

router = APIRouter(prefix="/v1", tags=["evaluation"], responses=PROBLEMS)
Name = Annotated[str, Path(pattern=NAME)]
Limit = Annotated[int, Query(ge=1, le=200)]
_PLACE = "^[0-9]{1,6}$"
Place = Annotated[str | None, Query(max_length=2000, json_schema_extra={"pattern": _PLACE})]
Baseline = Annotated[str, Query(pattern=NAME, description="The run that `b` is compared with.")]
Candidate = Annotated[str, Query(pattern=NAME)]


class Measured(BaseModel):
    """The mean of a measure over `n` questions, and its 95 % confidence interval."""

    n: int
    mean: float
    low: float
    high: float


class RunOut(BaseModel):
    """A run of an evaluation. Measures are those of all questions; none until it is finished."""

    name: str
    set: str
    questions: int
    created: str
    finished: str | None
    version: str = Field(description="Of the code.")
    collection: str | None = Field(description="The one that was asked; null: the set's own.")
    failed: int | None
    measures: dict[str, Measured]


class RunPage(BaseModel):
    """Runs, newest first."""

    runs: list[RunOut]
    unreadable: list[str] = Field(description="Damaged ones.")
    next_cursor: str | None


class RunDetails(RunOut):
    """A run with its whole summary, as `summary.json` has it: docs/measures.md."""

    summary: dict[str, Any]


@router.get("/eval-runs", response_model=RunPage, dependencies=[needs("admin")])
async def list_runs(
    caller: PrincipalDep, settings: SettingsDep, limit: Limit = 50, cursor: Place = None
) -> Response:
    """Lists the tenant's evaluation runs, newest first."""
    if cursor is not None and not re.fullmatch(_PLACE, cursor):
        raise no_cursor()
    start = int(cursor or 0)
    found = await asyncio.to_thread(_runs(settings).page, caller.tenant, start=start, limit=limit)
    return json_response(
        {
            "runs": [_run_json(run) for run in found.runs],
            "unreadable": found.unreadable,
            "next_cursor": str(start + limit) if found.more else None,
        }
    )


# Before the route of one run, which would take `compare` for a name.
@router.get(
    "/eval-runs/compare",
    response_model=ComparisonsOut,
    dependencies=[needs("admin"), audited("evaluation.read")],
)
async def compare_runs(
    request: Request, caller: PrincipalDep, settings: SettingsDep, a: Baseline, b: Candidate
) -> Response:
    """Compares run `b` with run `a`, as `rag eval compare` does, question by question."""
    note_object(request, f"{a} {b}")
    async with state_of(request).analysis:
        found = await asyncio.to_thread(compared, _runs(settings), caller.tenant, a, b)
    return json_response(found)


@router.get("/eval-runs/{name}", response_model=RunDetails, dependencies=[needs("admin")])
async def get_run(name: Name, caller: PrincipalDep, settings: SettingsDep) -> Response:
    """Returns one run with its summary."""
    run = await asyncio.to_thread(_runs(settings).get, caller.tenant, name)
    return json_response(_run_json(run) | {"summary": run.summary})


def _runs(settings: Settings) -> KeptRuns:
    return KeptRuns(settings.data_dir / RUNS)


def _run_json(run: KeptRun) -> dict[str, Any]:
    """Returns a run in the form of `RunOut`."""
    info = run.info
    return {
        "name": run.name,
        "set": info.set_name,
        "questions": info.questions,
        "created": info.started,
        "finished": info.finished,
        "version": info.version,
        "collection": info.config.get("run", {}).get("collection"),
        "failed": run.summary.get("failed"),
        "measures": run.summary.get("measures", {}),
    }
