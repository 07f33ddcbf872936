"""A server whose GPU fails, by a fake of NVML's library: no GPU is asked."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fake_nvml import UUID, say
from tests.places import ROOT
from tests.servers import serving, wait_for


def test_a_server_with_an_unhealthy_gpu_drains_and_says_why(tmp_path: Path) -> None:
    says = tmp_path / "nvml.json"
    say(says)
    env = {"PYTHONPATH": str(ROOT), "RAG_GPU__SECONDS": "0.2", "RAG_GPU__PATIENCE_SECONDS": "0"}
    command = (sys.executable, "-m", "tests.fake_nvml", str(says))
    with serving(tmp_path / "data", env=env, command=command) as server, server.client() as http:

        def log() -> str:
            return server.log.read_text()

        assert f'plumbline_gpu_healthy{{gpu="{UUID}"}} 1.0' in http.get("/metrics").text
        say(says, celsius=99)
        wait_for(lambda: http.get("/readyz").status_code == 503)
        assert http.get("/readyz").json()["code"] == "gpu_unhealthy"
        refused = http.post("/v1/query", json={"query": "x"})
        assert (refused.status_code, refused.json()["code"]) == (503, "gpu_unhealthy")
        assert refused.headers["connection"] == "close"
        assert UUID not in refused.text  # a detail for operators
        assert http.get("/healthz").status_code == 200
        found = http.get("/v1/health").json()
        assert found["status"] == "down"
        states = {each["name"]: each["state"] for each in found["dependencies"]}
        assert (states["gpus"], states["nvml"]) == ("down", "up")
        assert f"{UUID}: It has more than 90 °C (gpu.celsius)." in str(found)
        assert f'plumbline_gpu_healthy{{gpu="{UUID}"}} 0.0' in http.get("/metrics").text
        wait_for(lambda: "No document is ingested until the GPUs are healthy." in log())
        say(says, celsius=70)
        wait_for(lambda: http.get("/readyz").status_code == 200)
        assert http.get("/v1/collections").status_code == 200
        assert "GPUs: all are healthy again." in log()
