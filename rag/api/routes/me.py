"""The endpoint that tells callers who they are."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

import rag
from rag.api.deps import KNOWN, PrincipalDep, SettingsDep
from rag.api.routes.common import PROBLEMS, json_response
from rag.types import Permission

router = APIRouter(prefix="/v1", tags=["callers"], responses=PROBLEMS)


class Me(BaseModel):
    """The caller. `collections` are those that the key reaches; null: all of the tenant."""

    tenant: str
    subject: str = Field(description="The user; empty: the key stands for none.")
    key_id: str = Field(description="Empty without a key.")
    scopes: list[Permission]
    collections: list[str] | None
    authenticated: bool = Field(description="False: the gateway is off, and everyone may call.")
    version: str = Field(description="Of the service.")


@router.get("/me", response_model=Me, dependencies=[KNOWN])
async def get_me(caller: PrincipalDep, settings: SettingsDep) -> Response:
    """Returns the caller's tenant, user and scopes."""
    body = {
        "tenant": caller.tenant,
        "subject": caller.subject,
        "key_id": caller.key_id,
        "scopes": sorted(caller.scopes),
        "collections": None if caller.collections is None else sorted(caller.collections),
        "authenticated": settings.gateway.enabled,
        "version": rag.__version__,
    }
    return json_response(body)
