"""The endpoints of collections."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from ingest.readers.versions import READERS
from rag.api import responses
from rag.api.deps import PrincipalDep, StorageDep, needs, visible
from rag.api.large_bodies import OffLoopRoute
from rag.api.routes.common import PROBLEMS, json_response

router = APIRouter(prefix="/v1", route_class=OffLoopRoute)


@router.get(
    "/collections",
    response_model=responses.CollectionList,
    responses=PROBLEMS,
    tags=["collections"],
    dependencies=[needs("read")],
)
async def list_collections(storage: StorageDep, caller: PrincipalDep) -> Response:
    """Lists all collections, by name."""
    records = visible(await storage.catalog.collections.of(caller.tenant, readers=READERS), caller)
    return json_response({"collections": [responses.collection_json(r) for r in records]})
