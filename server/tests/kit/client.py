#!/usr/bin/env python3
"""The official Python client, driven by a plan on standard input; prints what it got as one JSON object.

    {"url": URL, "mode": "auto" | "legacy" | "2026-07-28", "headers": {},       and what reach.py knows
     "calls": [[TOOL, ARGUMENTS], ...], "read": URI, "prompt": [NAME, ARGUMENTS], "unknown": TOOL}

`read`, `prompt` and `unknown` may be absent. The JavaScript twin is client.mjs.
"""
from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from mcp.client.client import Client
from mcp.shared.exceptions import MCPError

from reach import reach


async def every(list_page: Any, kind: str) -> list[Any]:
    """All pages of a list."""
    items: list[Any] = []
    cursor = None
    while True:
        page = await list_page(cursor=cursor)
        items += getattr(page, kind)
        cursor = page.next_cursor
        if cursor is None:
            return items


def first_text(blocks: list[Any]) -> str | None:
    return next((block.text for block in blocks if getattr(block, "text", None) is not None), None)


async def run(plan: dict, client: Client) -> dict:
    report: dict[str, Any] = {"version": client.protocol_version}
    report["tools"] = [tool.name for tool in await every(client.list_tools, "tools")]
    report["texts"] = {}
    for tool, arguments in plan.get("calls", []):
        result = await client.call_tool(tool, arguments)
        report["texts"][tool] = first_text(result.content)
    if "read" in plan:
        report["resources"] = [str(resource.uri) for resource in await every(client.list_resources, "resources")]
        contents = (await client.read_resource(plan["read"])).contents
        report["read"] = contents[0].text
    if "prompt" in plan:
        report["prompts"] = [prompt.name for prompt in await every(client.list_prompts, "prompts")]
        name, arguments = plan["prompt"]
        messages = (await client.get_prompt(name, arguments)).messages
        report["prompt"] = first_text([message.content for message in messages])
    if "unknown" in plan:
        try:
            result = await client.call_tool(plan["unknown"], {})
            report["unknown"] = {"is_error": result.is_error, "message": first_text(result.content)}
        except MCPError as error:
            report["unknown"] = {"code": error.error.code, "message": error.error.message}
    return report


async def main() -> None:
    plan = json.load(sys.stdin)
    async with Client(reach(plan), mode=plan["mode"]) as client:
        report = await run(plan, client)
    print(json.dumps(report))


asyncio.run(main())
