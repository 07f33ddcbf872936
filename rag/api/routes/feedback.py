"""The endpoint of feedback on answers."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from rag.api import schemas
from rag.api.deps import PrincipalDep, ServiceDep, needs
from rag.api.large_bodies import OffLoopRoute
from rag.api.routes.common import PROBLEMS

router = APIRouter(prefix="/v1", route_class=OffLoopRoute)


@router.post(
    "/feedback",
    status_code=204,
    responses=PROBLEMS,
    tags=["questions"],
    dependencies=[needs("ask")],
)
async def give_feedback(
    body: schemas.FeedbackRequest, service: ServiceDep, caller: PrincipalDep
) -> Response:
    """Stores feedback on an answer, by the answer's id."""
    await service.observer.add_feedback(caller, body.answer_id, body.feedback())
    return Response(status_code=204)
