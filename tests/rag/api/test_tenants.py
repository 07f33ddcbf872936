"""The API over a catalog that holds documents, jobs and answers of another tenant."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.api.app import app_without_lifespan
from rag.api.deps import Running
from rag.build.running import start
from rag.settings.tree import load_settings
from rag.types import Scope
from tests.rag.catalog.test_answers import given

pytestmark = pytest.mark.anyio
RIVAL = Scope(tenant="rival", collection="default")
JOB, ANSWER = "0" * 32, "a" * 32


async def problem(http: httpx.AsyncClient, method: str, path: str, **request: Any) -> Any:
    """Returns the status of a response, its code, and the names of its fields."""
    response = await http.request(method, path, **request)
    body = response.json()
    return response.status_code, body.get("code"), {*body}


async def test_what_another_tenant_has_is_as_unknown_as_what_nobody_has(folder: Path) -> None:
    settings = load_settings(data_dir=folder)
    async with start(settings) as (service, queue):  # the queue does not run: tasks wait
        jobs, answers = service.catalog.jobs, service.observer.answers
        spool = service.spool.of(RIVAL.tenant)
        sent = spool.put(b'{"text": "Otters swim."}', uri="doc:1", document_id_="1")
        await service.ingest.check_collection(RIVAL)
        job = await jobs.submit(RIVAL, [sent])
        await answers.keep([given(ANSWER, RIVAL)])
        before = await jobs.get(RIVAL.tenant, job)

        transport = httpx.ASGITransport(app=app_without_lifespan(settings, Running(service, queue)))
        async with httpx.AsyncClient(transport=transport, base_url="http://rag.local") as http:
            for method, path in (
                ("GET", "/v1/jobs/{}"),
                ("DELETE", "/v1/jobs/{}"),
                ("POST", "/v1/jobs/{}/retry"),
            ):
                theirs = await problem(http, method, path.format(job))
                assert theirs == await problem(http, method, path.format(JOB))
                assert theirs[:2] == (404, "unknown_job")
            for method, path in (
                ("GET", "/v1/documents/{}"),
                ("GET", "/v1/documents/{}/content?as=text"),
                ("GET", "/v1/documents/{}/chunks"),
                ("DELETE", "/v1/documents/{}"),
            ):
                theirs = await problem(http, method, path.format("1"))
                assert theirs == await problem(http, method, path.format("2"))
                assert theirs[:2] == (404, "unknown_document")
            feedback = {"answer_id": ANSWER, "rating": "up"}
            theirs = await problem(http, "POST", "/v1/feedback", json=feedback)
            assert theirs[:2] == (404, "unknown_answer")
            assert (await http.get("/v1/collections")).json() == {"collections": []}

        assert await jobs.get(RIVAL.tenant, job) == before
        assert spool.path(sent.source).exists()
        [answer] = await answers.given(RIVAL, 0, time.time() + 9)
        assert answer.feedback.rating is None
