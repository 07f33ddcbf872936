"""The real Open WebUI as a process: `make open-webui` installs it, which takes 8 GB."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ports import free_port
from tests.servers import PATIENCE, wait_for

Json = dict[str, Any]
COMMAND = Path(sys.prefix) / "open-webui" / "bin" / "open-webui"
needs_open_webui = pytest.mark.skipif(
    not COMMAND.is_file(), reason="there is no Open WebUI: `make open-webui` installs one"
)


@dataclass(frozen=True, slots=True)
class OpenWebUI:
    """A running Open WebUI without logins; `http` calls the API that its page calls."""

    http: httpx.Client

    def post(self, path: str, **body: Any) -> Any:
        response = self.http.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def chat(self, model: str, question: str, **options: Any) -> tuple[Json, Json]:
        """Asks as the page does; returns the chat and its finished answer, as they are stored."""
        mine, answers = str(uuid.uuid4()), str(uuid.uuid4())
        said: Json = {"id": mine, "parentId": None, "role": "user", "content": question}
        sent = self.post(
            "/api/chat/completions",
            model=model,
            stream=True,
            messages=[{"role": "user", "content": question}],
            parent_id=None,
            id=answers,
            session_id="page",
            user_message=said | {"childrenIds": [], "timestamp": int(time.time())},
            background_tasks={"title_generation": True, "tags_generation": True},
            **options,
        )

        def finished() -> tuple[Json, Json] | None:
            stored = self.http.get(f"/api/v1/chats/{sent['chat_id']}").json()
            answer: Json = stored["chat"]["history"]["messages"][answers]
            assert "error" not in answer, answer
            is_titled = stored["title"] != "New Chat"
            return (stored, answer) if answer["done"] and is_titled else None

        return wait_for(finished, pause=0.2)


@contextlib.contextmanager
def open_webui(folder: Path, env: dict[str, str]) -> Iterator[OpenWebUI]:
    """Runs Open WebUI; the block begins once it answers."""
    folder.mkdir()
    port, log = free_port(), folder / "log"
    own = {
        "PATH": str(COMMAND.parent),
        "HOME": str(folder),
        "DATA_DIR": str(folder / "data"),
        "WEBUI_AUTH": "False",
        "ENABLE_OLLAMA_API": "False",
        "OFFLINE_MODE": "True",
        "HF_HUB_OFFLINE": "1",
        "RAG_EMBEDDING_ENGINE": "openai",  # else it downloads a model of its own
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [COMMAND, "serve", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=own | env,
            stdout=output,
            stderr=output,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as http:

            def answers() -> bool:
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(httpx.TransportError):
                    return http.get("/health").status_code == 200
                return False

            wait_for(answers, pause=0.2)
            signed_in = http.post("/api/v1/auths/signin", json={"email": "", "password": ""})
            http.headers["Authorization"] = f"Bearer {signed_in.json()['token']}"
            yield OpenWebUI(http)
    finally:
        process.terminate()
        process.wait(PATIENCE)
