"""The endpoints of rollouts, which are of the whole service: they need `admin` and `metrics`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from rag.api.auditing import audited, note_detail
from rag.api.deps import PrincipalDep, SettingsDep, StorageDep, needs, state_of
from rag.api.large_bodies import OffLoopRoute
from rag.api.rollout_schemas import (
    NAME,
    ActionRequest,
    ArmsOut,
    PowerOut,
    RolloutList,
    RolloutOut,
    RolloutRequest,
    rollout_json,
    variant_json,
)
from rag.api.routes.common import PROBLEMS, json_response
from rag.build.service import Service
from rag.errors import ConflictError
from rag.rollouts.changes import act, start
from rag.rollouts.lifecycle import WIDENING
from rag.rollouts.router import Router
from rag.text.plain import plain
from rag.types import BASE

MOST_ANSWERS = 100_000
"""Stored answers that an A/B test is compared on, the latest ones."""
LEAST_ANSWERS = 30
"""Answers of the base, at least, from which power is computed."""
Name = Annotated[str, Path(pattern=NAME)]
router = APIRouter(
    prefix="/v1",
    tags=["rollouts"],
    responses=PROBLEMS,
    route_class=OffLoopRoute,
    dependencies=[needs("admin"), needs("metrics")],
)


@router.get("/rollouts", response_model=RolloutList)
async def list_rollouts(request: Request, storage: StorageDep, settings: SettingsDep) -> Response:
    """Lists the rollouts by name, and the variants of the settings."""
    routing, freeze = _router(request), state_of(request).freeze
    found = await storage.catalog.rollouts.all()
    frozen = await freeze.look() if freeze else None
    return json_response(
        {
            "rollouts": [rollout_json(each, routing) for each in found],
            "variants": [variant_json(name, routing) for name in settings.variants],
            "frozen": frozen and frozen.reason,
        }
    )


@router.get("/rollouts/{name}", response_model=RolloutOut)
async def get_rollout(request: Request, name: Name, storage: StorageDep) -> Response:
    """Returns a rollout with the evidence so far."""
    return json_response(rollout_json(await storage.catalog.rollouts.get(name), _router(request)))


@router.put(
    "/rollouts/{name}",
    response_model=RolloutOut,
    dependencies=[audited("rollout.start", at_once=True)],
)
async def start_rollout(
    request: Request,
    name: Name,
    body: RolloutRequest,
    storage: StorageDep,
    settings: SettingsDep,
) -> Response:
    """Starts a rollout. It holds in every process within five seconds.

    It is refused while an error budget is spent, or what is left is not known.
    """
    override = await _override(request, body.override_freeze)
    made = await start(
        storage.catalog,
        replace(body.rollout(name), reason=override),
        settings.variants,
        version=body.version,
        force=body.force,
    )
    return json_response(rollout_json(made, _router(request)))


@router.post(
    "/rollouts/{name}",
    response_model=RolloutOut,
    dependencies=[audited("rollout.change", at_once=True)],
)
async def change_rollout(
    request: Request, name: Name, body: ActionRequest, storage: StorageDep, caller: PrincipalDep
) -> Response:
    """Promotes, rolls back, kills, resumes or restores a rollout.

    What sends more questions to the variant is refused while an error budget is spent.
    """
    override = ""
    if body.action in WIDENING:
        override = await _override(request, body.override_freeze)
    who = caller.subject or caller.key_id or "an administrator"
    made = await act(
        storage.catalog,
        name,
        body.action,
        version=body.version,
        force=body.force,
        who=f"{who}, {override}" if override else who,
    )
    return json_response(rollout_json(made, _router(request)))


@router.delete(
    "/rollouts/{name}", status_code=204, dependencies=[audited("rollout.delete", at_once=True)]
)
async def delete_rollout(
    name: Name, storage: StorageDep, version: Annotated[int, Query(ge=1)]
) -> Response:
    """Deletes a rollout at a version: its questions are the base's again."""
    await storage.catalog.rollouts.delete(name, version=version)
    return Response(status_code=204)


@router.get("/rollouts/{name}/arms", response_model=ArmsOut)
async def compare_arms(request: Request, name: Name, storage: StorageDep) -> Response:
    """Compares the arms of an A/B test, with the statistics of `rag eval compare`."""
    from eval.compare import arms
    from eval.compare.comparison import ALPHA

    rollout = await storage.catalog.rollouts.get(name)
    answers = await storage.catalog.rollouts.answers(rollout, limit=MOST_ANSWERS)
    base = [each for each in answers if each["variant"] == BASE]
    variant = [each for each in answers if each["variant"] == rollout.variant]
    async with state_of(request).analysis:
        rows = await asyncio.to_thread(
            lambda: arms.compare_arms(arms.measured(base), arms.measured(variant))
        )
    return json_response(
        {
            "questions": (len(base), len(variant)),
            "alpha": ALPHA,
            "rows": [arms.row_json(row) for row in rows],
        }
    )


@router.get("/rollout-power", response_model=PowerOut)
async def get_power(
    storage: StorageDep,
    questions: Annotated[int, Query(ge=2, le=10**9)],
    percent: Annotated[float, Query(ge=0.01, le=99.99)] = 50.0,
) -> Response:
    """Returns the smallest differences that an A/B test of so many questions finds.

    They follow from how much the base's latest answers vary.
    """
    from eval.compare import arms
    from eval.compare.comparison import ALPHA

    answers = await storage.catalog.rollouts.recent(limit=MOST_ANSWERS)
    if len(answers) < LEAST_ANSWERS:
        raise ConflictError(
            f"{len(answers)} answers are stored, and {LEAST_ANSWERS} are needed to know how much"
            " they vary.",
            code="too_few_answers",
        )
    found = await asyncio.to_thread(
        lambda: arms.power(arms.measured(answers), questions, percent / 100)
    )
    return json_response(
        {
            "questions": questions,
            "percent": percent,
            "power": arms.POWER,
            "alpha": ALPHA,
            "answers": len(answers),
            "rows": found,
        }
    )


async def _override(request: Request, reason: str | None) -> str:
    """Returns in words why a freeze is passed over; empty if rollouts are not frozen.

    Raises:
        ConflictError: They are frozen, and there is no reason.
    """
    freeze = state_of(request).freeze
    if freeze is None or await freeze.check(reason) is None:
        return ""
    override = f"in a freeze: {plain(reason or '')}"
    note_detail(request, override)
    return override


def _router(request: Request) -> Router | None:
    """Returns what routes in this process; None in a command, which builds no variants."""
    opened = state_of(request).opened
    return opened.router if isinstance(opened, Service) else None
