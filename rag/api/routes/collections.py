"""The endpoints of collections."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from ingest.readers.versions import READERS
from rag.api import responses
from rag.api.acl_json import AclIn, AclOut, acl_json
from rag.api.auditing import audited
from rag.api.deps import IngestingDep, PrincipalDep, StorageDep, needs, scope_in, visible
from rag.api.large_bodies import OffLoopRoute
from rag.api.routes.common import PROBLEMS, json_response
from rag.settings.tree import COLLECTION

Name = Annotated[str, Path(pattern=COLLECTION)]
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
    records = await storage.catalog.collections.of(
        caller.tenant, readers=READERS, words=caller.readers
    )
    return json_response(
        {"collections": [responses.collection_json(r) for r in visible(records, caller)]}
    )


@router.delete(
    "/collections/{collection}",
    status_code=204,
    responses=PROBLEMS,
    tags=["collections"],
    dependencies=[needs("admin"), audited("collection.delete", at_once=True)],
)
async def delete_collection(
    collection: Name, ingesting: IngestingDep, caller: PrincipalDep
) -> Response:
    """Removes a collection with its documents, its index and the answers made of it."""
    await ingesting.ingest.removal.remove(scope_in(caller, collection).whole)
    return Response(status_code=204)


@router.get(
    "/collections/{collection}/acl",
    response_model=AclOut,
    responses=PROBLEMS,
    tags=["collections"],
    dependencies=[needs("admin")],
)
async def get_default_acl(collection: Name, storage: StorageDep, caller: PrincipalDep) -> Response:
    """Returns who may read the documents of a collection that have no ACL of their own."""
    scope = await storage.catalog.collections.check_exists(scope_in(caller, collection))
    return json_response(acl_json(await storage.catalog.acls.default(scope), inherited=False))


@router.put(
    "/collections/{collection}/acl",
    response_model=AclOut,
    responses=PROBLEMS,
    tags=["collections"],
    dependencies=[needs("admin"), audited("acl.change", at_once=True)],
)
async def put_default_acl(
    collection: Name, body: AclIn, ingesting: IngestingDep, caller: PrincipalDep
) -> Response:
    """Replaces the default ACL of a collection, from the next question on; makes a new one."""
    scope = scope_in(caller, collection).whole
    await ingesting.ingest.check_collection(scope)
    await ingesting.catalog.acls.set_default(scope, body.words())
    return json_response(acl_json(body.words(), inherited=False))
