"""The endpoints of batches: many requests in one file, answered in the background."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rag.api.auditing import audited, note_object
from rag.api.checked_names import sendable
from rag.api.deps import PrincipalDep, StorageDep, needs
from rag.api.large_bodies import OffLoopRoute
from rag.api.openai import batch_json as wire
from rag.api.openai.file_routes import After
from rag.api.openai.routes import ERRORS
from rag.api.routes.common import Id, json_response

WINDOW_SECONDS = 24 * 3600.0
Limit = Annotated[int, Query(ge=1, le=100)]
router = APIRouter(
    prefix="/v1",
    tags=["batches"],
    responses=ERRORS,
    route_class=OffLoopRoute,
    dependencies=[needs("ask")],
)


@router.post("/batches", response_model=wire.BatchOut, dependencies=[audited("batch.create")])
async def create_batch(
    request: Request, body: wire.BatchRequest, storage: StorageDep, caller: PrincipalDep
) -> Response:
    """Makes a batch of the requests in a file, which are answered within 24 hours."""
    file = await storage.catalog.batch_files.get(caller, body.input_file_id)
    batch = await storage.catalog.batches.add(
        caller,
        input_file_id=file.id,
        endpoint=body.endpoint,
        metadata=body.metadata,
        seconds=WINDOW_SECONDS,
    )
    note_object(request, batch.id)
    return json_response(wire.batch_json(batch))


@router.get("/batches", response_model=wire.BatchPage)
async def list_batches(
    *, storage: StorageDep, caller: PrincipalDep, limit: Limit = 20, after: After = None
) -> Response:
    """Lists the caller's batches, newest first."""
    found = await storage.catalog.batches.page(
        caller, limit=limit + 1, after=after and sendable(after)
    )
    return json_response(wire.page_json([wire.batch_json(each) for each in found], limit=limit))


@router.get("/batches/{batch_id}", response_model=wire.BatchOut)
async def get_batch(batch_id: Id, storage: StorageDep, caller: PrincipalDep) -> Response:
    """Returns a batch, with the numbers of its lines."""
    return json_response(wire.batch_json(await storage.catalog.batches.get(caller, batch_id)))


@router.post(
    "/batches/{batch_id}/cancel",
    response_model=wire.BatchOut,
    dependencies=[audited("batch.cancel")],
)
async def cancel_batch(batch_id: Id, storage: StorageDep, caller: PrincipalDep) -> Response:
    """Ends the lines that are not under way; the batch ends with those that are."""
    return json_response(wire.batch_json(await storage.catalog.batches.cancel(caller, batch_id)))


@router.delete(
    "/batches/{batch_id}", response_model=wire.DeletedOut, dependencies=[audited("batch.delete")]
)
async def delete_batch(batch_id: Id, storage: StorageDep, caller: PrincipalDep) -> Response:
    """Deletes a batch that has ended, with its responses."""
    await storage.catalog.batches.delete(caller, batch_id)
    return json_response({"id": batch_id, "object": "batch", "deleted": True})
