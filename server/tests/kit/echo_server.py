#!/usr/bin/env python3
"""A small MCP server on the official Python SDK, for tests that kill, restart or page it.

    python echo_server.py                          # over stdio
    python echo_server.py --port 0                 # Streamable HTTP; prints `upstream ready URL`
    ... --tools 101 --page 50                      # that many tools (`echo`, then `tool_1`, ...), listed in pages
    ... --name east                                # what `echo` signs its answers with
"""
from __future__ import annotations

import argparse
import asyncio
import os
from typing import Any

import mcp_types as t
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}}


def build(name: str, tools: int, page: int) -> Server:
    names = ["echo"] + [f"tool_{number}" for number in range(1, tools)]

    async def list_tools(_ctx: Any, params: Any) -> t.ListToolsResult:
        start = int(params.cursor) if params is not None and params.cursor else 0
        more = str(start + page) if start + page < len(names) else None
        listed = [t.Tool(name=n, input_schema=TEXT) for n in names[start:start + page]]
        return t.ListToolsResult(tools=listed, next_cursor=more)

    async def call_tool(_ctx: Any, params: t.CallToolRequestParams) -> t.CallToolResult:
        if params.name not in names:
            raise MCPError(-32602, f"Unknown tool: {params.name}")
        text = (params.arguments or {}).get("text", "")
        answer = f"{name} {params.name} {os.getpid()}: {text}"
        return t.CallToolResult(content=[t.TextContent(type="text", text=answer)])

    return Server(name, version="1.0.0", on_list_tools=list_tools, on_call_tool=call_tool)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, help="serve Streamable HTTP here instead of stdio")
    arguments.add_argument("--name", default="echo")
    arguments.add_argument("--tools", type=int, default=1)
    arguments.add_argument("--page", type=int, default=1000)
    given = arguments.parse_args()
    server = build(given.name, given.tools, given.page)
    if given.port is not None:
        from serving import serve
        serve(server.streamable_http_app(), port=given.port)
    else:
        from mcp.server.stdio import stdio_server

        async def main() -> None:
            async with stdio_server() as (read, write):
                await server.run(read, write, server.create_initialization_options())
        asyncio.run(main())
