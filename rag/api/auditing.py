"""The audit of requests: routes declare their action, and a middleware writes the row at the end.

A row is stored before the last part of the response is sent, unless the catalog does not answer: so
a kill of the process loses rows of requests under way alone. Requests at once share transactions.

Denied attempts of known callers are written on every route, and so are credentials that are not
valid. Requests without any credential are not: they name nobody, and would fill the log.
"""

from __future__ import annotations

from http import HTTPStatus
from uuid import uuid4

from fastapi import Depends, Request, params
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.api import problems
from rag.api.deps import Running, permission_of
from rag.errors import UpstreamError
from rag.gateway.audit_log import AuditLog, bounded, now_ms
from rag.records import SERVICE, AuditOutcome, AuditRow
from rag.types import Principal

LOGON = "logon"
"""The action of a credential that is not valid."""
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_CREDENTIALS = ("authorization", "api-key")
_OBJECT = "audit_object"
_DETAIL = "audit_detail"


class Audited:
    """Names the action of a route.

    With `at_once`, the row is written before the response that says that it was done.
    """

    def __init__(self, action: str, *, at_once: bool) -> None:
        self.action = action
        self.at_once = at_once

    async def __call__(self) -> None:
        """Does nothing: the middleware finds the action by the route."""


def audited(action: str, *, at_once: bool = False) -> params.Depends:
    """Returns the dependency of a route whose requests are in the audit log."""
    made: params.Depends = Depends(Audited(action, at_once=at_once))
    return made


def audit_of(route: object) -> Audited | None:
    """Returns what a route declares; None if its requests are not audited."""
    if not isinstance(route, APIRoute):
        return None
    found = (dependency.dependency for dependency in route.dependencies)
    return next((each for each in found if isinstance(each, Audited)), None)


def note_object(request: Request, object_: str, *, collection: str = "") -> None:
    """Names the object of a request, if its path does not."""
    request.scope[_OBJECT] = object_
    if collection:
        request.scope["collection"] = collection


def note_detail(request: Request, detail: str) -> None:
    """Adds what else an auditor has to know of a request that succeeds."""
    request.scope[_DETAIL] = detail


class Auditing:
    """Writes a row for each request that is to be audited. Plain ASGI, outside the gate."""

    def __init__(self, app: ASGIApp, *, running: Running) -> None:
        self._app = app
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        log = self._running.audit
        if scope["type"] != "http" or log is None:
            await self._app(scope, receive, send)
            return
        request = _Request(scope, log, send)
        try:
            await self._app(scope, receive, request.send)
        finally:
            request.end()


class _Request:
    """One request: the status of its response, and whether its row is written."""

    def __init__(self, scope: Scope, log: AuditLog, send: Send) -> None:
        self._scope = scope
        self._log = log
        self._send = send
        self._status = problems.CRASHED
        self._noted = False
        self._replaced = False

    async def send(self, message: Message) -> None:
        """Sends a message of the response, once the row is written that must be there first."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            declared = audit_of(self._scope.get("route"))
            done = self._status < HTTPStatus.BAD_REQUEST
            if done and declared is not None and declared.at_once:
                await self._write_first()
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            await self._settle()
        if not self._replaced:
            await self._send(message)

    async def _write_first(self) -> None:
        """Writes the row; if that fails, the response is replaced by the error."""
        row = _row_of(self._scope, self._status, operator=self._log.operator)
        self._noted = True
        if row is None:
            return
        try:
            await self._log.write(row)
        except UpstreamError as error:
            self._replaced = True
            body = problems.problem_json(error, self._scope.get("request_id", ""))
            refusal = problems.response(self._scope, body, problems.retry_after(error))
            await refusal(self._scope, _nothing, self._send)

    async def _settle(self) -> None:
        """Writes the row before the last part of the response: after that, no kill loses it."""
        if self._noted:
            return
        self._noted = True
        if row := _row_of(self._scope, self._status, operator=self._log.operator):
            await self._log.settle(row)

    def end(self) -> None:
        """Takes the row of a request whose response did not end."""
        if self._noted:
            return
        if row := _row_of(self._scope, self._status, operator=self._log.operator):
            self._log.put(row)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _row_of(scope: Scope, status: int, *, operator: str) -> AuditRow | None:
    """Returns the row of a request; None if it is not audited."""
    caller: Principal | None = scope.get("principal")
    action = _action_of(scope, status, known=caller is not None)
    if action is None:
        return None
    in_path = scope.get("path_params", {})
    named = scope.get(_OBJECT) or next(iter(in_path.values()), "")
    return AuditRow(
        id=uuid4().hex,
        tenant=caller.tenant if caller else SERVICE,
        at_ms=now_ms(),
        action=action,
        object=bounded(str(named)),
        collection=bounded(scope.get("collection") or in_path.get("collection", "")),
        outcome=_outcome_of(status),
        status=status,
        detail=bounded(scope.get("problem") or scope.get(_DETAIL, "")),
        key_id=caller.key_id if caller else "",
        subject=bounded(caller.subject or operator) if caller else "",
        address=bounded((scope.get("client") or ("",))[0]),
        request_id=scope.get("request_id", ""),
    )


def _action_of(scope: Scope, status: int, *, known: bool) -> str | None:
    route = scope.get("route")
    if not known:
        sent = Headers(scope=scope)
        tried = status == HTTPStatus.UNAUTHORIZED and any(map(sent.get, _CREDENTIALS))
        return LOGON if tried else None
    if (declared := audit_of(route)) is not None:
        return declared.action
    if status not in _DENIED:
        return None
    return (permission_of(route) if isinstance(route, APIRoute) else None) or "request"


def _outcome_of(status: int) -> AuditOutcome:
    if status in _DENIED:
        return "denied"
    return "success" if status < HTTPStatus.BAD_REQUEST else "failure"
