"""The endpoints of refused tokens. A caller manages those of the own tenant."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rag.api.auditing import audited, note_object
from rag.api.deps import PrincipalDep, TokenRefusalsDep, needs
from rag.api.large_bodies import OffLoopRoute
from rag.api.refusal_schemas import (
    Kind,
    RefusalList,
    RefusalOut,
    RefusalRequest,
    Value,
    refusal_json,
)
from rag.api.routes.common import PROBLEMS, json_response

router = APIRouter(
    prefix="/v1/tokens/refused",
    tags=["tokens"],
    responses=PROBLEMS,
    route_class=OffLoopRoute,
    dependencies=[needs("admin")],
)


@router.post(
    "",
    status_code=201,
    response_model=RefusalOut,
    dependencies=[audited("token.refuse", at_once=True)],
)
async def refuse_tokens(
    request: Request, body: RefusalRequest, refusals: TokenRefusalsDep, caller: PrincipalDep
) -> Response:
    """Refuses tokens: at once in this process, within five seconds in all others.

    One of the same token or subject is replaced: tokens issued since are then refused, too.
    """
    note_object(request, f"{body.kind} {body.value}")
    refusal = await refusals.refuse(caller, body.kind, body.value, seconds=body.expires_in)
    return json_response(refusal_json(refusal), status=201)


@router.get("", response_model=RefusalList)
async def list_refused_tokens(refusals: TokenRefusalsDep, caller: PrincipalDep) -> Response:
    """Lists what the tenant refuses, oldest first; without refusals that have ended."""
    return json_response({"refused": [refusal_json(each) for each in await refusals.of(caller)]})


@router.delete(
    "",
    response_model=RefusalOut,
    dependencies=[audited("token.allow", at_once=True)],
)
async def allow_tokens(
    request: Request,
    kind: Annotated[Kind, Query()],
    value: Annotated[Value, Query()],
    refusals: TokenRefusalsDep,
    caller: PrincipalDep,
) -> Response:
    """Ends a refusal: tokens that have not expired are accepted again."""
    note_object(request, f"{kind} {value}")
    return json_response(refusal_json(await refusals.allow(caller, kind, value)))
