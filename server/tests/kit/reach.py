"""How a client of the tests gets to the gateway: what a plan says of it, as a transport of the official client.

    {"url": URL, "transport": "http" | "sse", "headers": {}}     "http" if it is absent
    {"transport": "stdio", "command": [PROGRAM, ARGUMENT, ...]}
"""
from __future__ import annotations

import contextlib
from typing import Any, AsyncIterator

import httpx2
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client


@contextlib.asynccontextmanager
async def reach(plan: dict) -> AsyncIterator[Any]:
    """The streams of the transport that the plan names."""
    headers = plan.get("headers", {})
    match plan.get("transport", "http"):
        case "stdio":
            program, *arguments = plan["command"]
            async with stdio_client(StdioServerParameters(command=program, args=arguments)) as streams:
                yield streams
        case "sse":
            async with sse_client(plan["url"], headers=headers) as streams:
                yield streams
        case "http":
            async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
                async with streamable_http_client(plan["url"], http_client=http) as streams:
                    yield streams
