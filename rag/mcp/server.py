"""The MCP server: it lists the tools and resources, and calls them for a caller."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as ListedTool
from pydantic import ValidationError
from pydantic_core import to_json

import rag
from rag.mcp import resources
from rag.mcp.rest import RefusedError, Rest
from rag.mcp.tool_arguments import sentences
from rag.mcp.tools import TOOLS, Tool
from rag.text.validation_errors import shortened

INSTRUCTIONS = (
    "Documents of the user's organisation. `answer` answers a question with checked citations, or"
    " abstains. `search` finds passages, and `fetch` reads a document. Cite what you use by `url`."
)
Context = ServerRequestContext[Any, Any]
R = TypeVar("R")
_log = logging.getLogger(__name__)


def make_server(rest_of: Callable[[Context], Rest]) -> Server[Any]:
    """Returns a server; `rest_of` returns the REST API as the caller of a request has it."""

    async def list_tools(
        context: Context, params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        _check_no_cursor(params)
        may = rest_of(context).permissions
        return ListToolsResult(
            tools=[LISTED[tool.name] for tool in TOOLS if may is None or tool.permission in may]
        )

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        tool = _BY_NAME.get(params.name)
        if tool is None:
            names = ", ".join(_BY_NAME)
            raise MCPError(
                INVALID_PARAMS, f"There is no tool {shortened(params.name)!r}. There are: {names}."
            )
        return await _logged(_called(tool, rest_of(context), context, params.arguments or {}))

    async def list_resources(
        context: Context, params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        cursor = params.cursor if params else None
        return await _told(resources.list_resources(rest_of(context), cursor))

    async def list_templates(
        _context: Context, params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        _check_no_cursor(params)
        return await resources.list_templates()

    async def read_resource(
        context: Context, params: ReadResourceRequestParams
    ) -> ReadResourceResult:
        return await _told(resources.read_resource(rest_of(context), params.uri))

    return Server(
        "plumbline",
        version=rag.__version__,
        title="Plumbline",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: LISTED[name].input_schema if name in LISTED else None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


async def _called(
    tool: Tool[Any], rest: Rest, context: Context, given: dict[str, Any]
) -> CallToolResult:
    """Runs a tool; what is wrong with the call is a result that an agent reads and corrects."""
    try:
        arguments = tool.arguments.model_validate(given)
    except ValidationError as error:
        return _refused(sentences(error, tool.arguments))
    try:
        result = await tool.run(rest, arguments, context.session.report_progress)
    except RefusedError as error:
        return _refused(str(error))
    content = result.model_dump(mode="json")
    return CallToolResult(
        content=[TextContent(text=to_json(content).decode())], structured_content=content
    )


def _refused(sentence: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=sentence)], is_error=True)


async def _told(work: Awaitable[R]) -> R:
    """Returns the result of work on a resource; a refusal is an error of the protocol."""
    try:
        return await _logged(work)
    except RefusedError as error:
        raise MCPError(INVALID_PARAMS, str(error)) from None


async def _logged(work: Awaitable[R]) -> R:
    """Returns the result of work. A bug goes to the log: the SDK would send its message."""
    try:
        return await work
    except (MCPError, RefusedError):
        raise
    except Exception as error:
        _log.exception("A request of MCP crashed")
        raise MCPError(
            INTERNAL_ERROR,
            "Something went wrong that should not have; the server's log has the trace.",
        ) from error


def _check_no_cursor(params: PaginatedRequestParams | None) -> None:
    if params and params.cursor is not None:
        raise MCPError(INVALID_PARAMS, "This listing has one page, and gave no cursor.")


def _listed(tool: Tool[Any]) -> ListedTool:
    return ListedTool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.arguments.model_json_schema(),
        output_schema=tool.result.model_json_schema(mode="serialization"),
        annotations=ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.read_only,
            destructive_hint=not tool.read_only,
            idempotent_hint=tool.read_only,
            open_world_hint=not tool.read_only,
        ),
    )


_BY_NAME = {tool.name: tool for tool in TOOLS}
LISTED = {tool.name: _listed(tool) for tool in TOOLS}
"""The tools as they are listed; schemas are made once."""
