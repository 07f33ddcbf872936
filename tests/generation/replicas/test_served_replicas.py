"""`rag serve` with two replicas behind it, one of which is killed."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.test_e2e_chat import DOCUMENTS, FACT, KEY, QUESTION
from tests.model_server import quotes
from tests.replicas import engines
from tests.servers import serving, submit, wait_for

CONFIG = """
[generator]
kind = "openai"
replicas = {urls}
api_key = "{key}"
model = "tiny"
first_token_seconds = 3
"""


def test_a_service_answers_on_when_a_replica_is_killed_and_says_so(tmp_path: Path) -> None:
    with engines(quotes(), quotes()) as models:
        urls = [model.url.replace("http://", "http://user:hunter2@") + "/v1" for model in models]
        (tmp_path / "rag.toml").write_text(CONFIG.format(urls=urls, key=KEY))
        with serving(tmp_path / "data") as server, server.client() as http:
            submit(http, *DOCUMENTS)
            first = http.post("/v1/query", json={"query": QUESTION}).raise_for_status().json()
            assert (first["answer"], first["degraded"]) == (f"{FACT} [1]", [])
            (killed,) = (number for number, model in enumerate(models) if model.requests)
            models[killed].stop()
            second = http.post("/v1/query", json={"query": QUESTION}).raise_for_status().json()
            assert second["answer"] == first["answer"]
            assert second["degraded"] in (
                [],  # a check was faster
                [
                    f"generate: replica {killed + 1} of 2 of the model tiny failed, and another"
                    " was asked"
                ],
            )

            def is_out() -> bool:
                host = models[killed].url.removeprefix("http://")
                line = f'plumbline_replica_ready{{replica="http://***@{host}/v1"}} 0.0'
                return line in http.get("/metrics").text

            wait_for(is_out)
            assert http.post("/v1/query", json={"query": QUESTION}).json()["degraded"] == []
            told = http.get("/metrics").text + server.log.read_text()
            assert "hunter2" not in told
