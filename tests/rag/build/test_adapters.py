"""Adapters of tenants, from the settings to the requests that a server gets."""

from __future__ import annotations

import json
from pathlib import Path

from tests.model_server import model_server, says
from tests.servers import rag

TEXT = "The pump of the Falcon weighs 40 kg."


def test_each_tenant_s_answers_are_written_by_its_own_adapter(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text(TEXT)
    data = tmp_path / "data"
    with model_server(says("The pump weighs 40 kg [1].")) as server:
        generator = {
            "kind": "openai",
            "base_url": server.base_url,
            "model": "base",
            "adapters": {"acme": "acme-style", "globex": "globex-style"},
        }
        env = {"RAG_GENERATOR": json.dumps(generator)}
        for tenant in ("acme", "globex", "initech"):
            of = ("--tenant", tenant)
            ran = rag("ingest", tmp_path / "note.txt", *of, data=data, env=env)
            assert ran.returncode == 0, ran.stderr
            ran = rag("query", "How heavy is the pump?", *of, data=data, env=env)
            assert ran.returncode == 0, ran.stderr
            assert "40 kg" in ran.stdout
        models = [request["model"] for request in server.requests]
    assert models == ["acme-style", "globex-style", "base"]
