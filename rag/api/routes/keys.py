"""The endpoints of API keys. A caller manages the keys of the own tenant."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rag.api.auditing import audited, note_object
from rag.api.deps import ApiKeysDep, PrincipalDep, needs
from rag.api.key_schemas import KeyList, KeyOut, KeyRequest, NewKeyOut, key_json
from rag.api.large_bodies import OffLoopRoute
from rag.api.routes.common import PROBLEMS, Id, json_response
from rag.records import KeyRecord

MAX_OVERLAP_SECONDS = 30 * 24 * 3600
OVERLAP_SECONDS = 24 * 3600.0
"""Time to give clients a new key, by default."""
Overlap = Annotated[float, Query(ge=0, le=MAX_OVERLAP_SECONDS)]
router = APIRouter(
    prefix="/v1/keys",
    tags=["keys"],
    responses=PROBLEMS,
    route_class=OffLoopRoute,
    dependencies=[needs("admin")],
)


@router.post(
    "",
    status_code=201,
    response_model=NewKeyOut,
    dependencies=[audited("key.create", at_once=True)],
)
async def create_key(
    request: Request, body: KeyRequest, keys: ApiKeysDep, caller: PrincipalDep
) -> Response:
    """Makes a key. The response is the only one that has it: only its hash is stored."""
    record, key = await keys.create(caller, body.grant())
    note_object(request, record.id)
    return _new(record, key)


@router.get("", response_model=KeyList)
async def list_keys(keys: ApiKeysDep, caller: PrincipalDep) -> Response:
    """Lists the tenant's keys, oldest first; revoked and expired ones, too."""
    return json_response({"keys": [key_json(each) for each in await keys.of(caller)]})


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    response_model=NewKeyOut,
    dependencies=[audited("key.rotate", at_once=True)],
)
async def rotate_key(
    key_id: Id, keys: ApiKeysDep, caller: PrincipalDep, overlap: Overlap = OVERLAP_SECONDS
) -> Response:
    """Replaces a key by a new one with the same id; the old one works `overlap` seconds longer."""
    return _new(*await keys.rotate(caller, key_id, overlap=overlap))


@router.delete(
    "/{key_id}",
    response_model=KeyOut,
    dependencies=[audited("key.revoke", at_once=True)],
)
async def revoke_key(key_id: Id, keys: ApiKeysDep, caller: PrincipalDep) -> Response:
    """Revokes a key: at once in this process, within five seconds in all others."""
    return json_response(key_json(await keys.revoke(caller, key_id)))


def _new(record: KeyRecord, key: str) -> Response:
    headers = {"Cache-Control": "no-store"}
    return json_response(key_json(record) | {"key": key}, status=201, headers=headers)
