"""A notice that is read from an address: that of a cloud's metadata, or one of your own.

| path | |
|---|---|
| `/latest/meta-data/…` | AWS, IMDSv2: 404 until there is a notice |
| `/computeMetadata/…` | Google Cloud: `FALSE` until there is one |
| `/metadata/scheduledevents` | Azure: a list of events, for several machines |
| any other | 404 or 204 until there is one |

Sources: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html,
https://cloud.google.com/compute/docs/instances/create-use-spot#handle_preemption,
https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx

from rag.errors import UpstreamError
from rag.privacy.redaction import words

SECONDS = 4.0
"""Longest time of one request, from its beginning to the end of its response."""
MAX_BYTES = 1 << 16
TOKEN_SECONDS = 21600
"""Life of a token of AWS; longer ones are refused."""
_TOKEN, _TOKEN_LIFE = "X-aws-ec2-metadata-token", "X-aws-ec2-metadata-token-ttl-seconds"
_NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
_TAKEN = ("Preempt", "Terminate")
"""Azure's events after which the machine does not come back."""
_NONE = (HTTPStatus.NOT_FOUND, HTTPStatus.NO_CONTENT)


class HttpNotice:
    """Asks an address; it goes there directly, whatever proxy the environment names."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._client = httpx.Client(timeout=SECONDS, trust_env=False, follow_redirects=False)
        self._token = ""
        self._machine = ""
        if parts.path.startswith("/latest/meta-data/"):
            self._read = self._aws
        elif parts.path.startswith("/computeMetadata/"):
            self._read = self._google
        elif parts.path == "/metadata/scheduledevents":
            self._read = self._azure
        else:
            self._read = self._own

    def read(self) -> str:
        """Returns the text of the notice; empty while there is none.

        Raises:
            UpstreamError: The address does not answer, or not as such an address does.
        """
        try:
            return self._read()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
            raise UpstreamError(
                f"server.stop_notice_url cannot be read: {words(error, self._url)}"
            ) from error

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    def _aws(self) -> str:
        if not self._token:
            life = {_TOKEN_LIFE: str(TOKEN_SECONDS)}
            status, token = self._ask("PUT", f"{self._origin}/latest/api/token", life)
            _check(status, HTTPStatus.OK)
            self._token = token
        status, text = self._ask("GET", self._url, {_TOKEN: self._token})
        if status == HTTPStatus.UNAUTHORIZED:
            self._token = ""  # it has expired: the next look gets another
        return _noticed(status, text)

    def _google(self) -> str:
        status, text = self._ask("GET", self._url, {"Metadata-Flavor": "Google"})
        _check(status, HTTPStatus.OK)
        if text not in ("TRUE", "FALSE"):
            raise ValueError(f"it says {text[:80]!r}, which is neither TRUE nor FALSE")
        return text if text == "TRUE" else ""

    def _azure(self) -> str:
        status, text = self._ask("GET", self._url, {"Metadata": "true"})
        _check(status, HTTPStatus.OK)
        events = json.loads(text)["Events"]
        for event in (event for event in events if event["EventType"] in _TAKEN):
            if not self._machine:
                url = f"{self._origin}{_NAME}"
                status, machine = self._ask("GET", url, {"Metadata": "true"})
                _check(status, HTTPStatus.OK)
                self._machine = machine
            if self._machine in event["Resources"]:
                return json.dumps(event)
        return ""

    def _own(self) -> str:
        return _noticed(*self._ask("GET", self._url, {}))

    def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> tuple[int, str]:
        """Returns the status and the text of a response.

        Raises:
            ValueError: It is too large, or takes too long.
        """
        until, body = time.monotonic() + SECONDS, bytearray()
        with self._client.stream(method, url, headers=headers) as response:
            for piece in response.iter_bytes():
                body += piece
                if len(body) > MAX_BYTES:
                    raise ValueError(f"the response has more than {MAX_BYTES:,} bytes")
                if time.monotonic() > until:
                    raise ValueError(f"the response took more than {SECONDS:g} s")
        return response.status_code, body.decode(errors="replace").strip()


def _noticed(status: int, text: str) -> str:
    """Returns the notice of an address that has nothing as long as there is none."""
    if status in _NONE:
        return ""
    _check(status, HTTPStatus.OK)
    return text or "it answers 200"


def _check(status: int, wanted: HTTPStatus) -> None:
    if status != wanted:
        raise ValueError(f"it answers {status}")
