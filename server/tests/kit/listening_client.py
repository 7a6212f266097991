#!/usr/bin/env python3
"""The official Python client with every callback: what a server says besides its answers, as one JSON object.

    {"url": URL, "mode": "legacy" | "2026-07-28", "prefix": "up__" | ""}      on standard input; see also reach.py

The server is conformance_upstream.py; `prefix` is what stands before its tools' names.
"""
from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import mcp_types as t
from mcp.client.client import Client

from reach import reach

HEARD_LIMIT = 10.0
WATCHED = "test://watched-resource"


class Ears:
    """Collects what arrives."""

    def __init__(self) -> None:
        self.progress: list[float] = []
        self.logs: list[Any] = []
        self.notifications: list[str] = []
        self.elicitations: list[str] = []
        self.samplings: list[str] = []

    async def on_progress(self, progress: float, _total: float | None, _message: str | None) -> None:
        self.progress.append(progress)

    async def on_log(self, params: t.LoggingMessageNotificationParams) -> None:
        self.logs.append(params.data)

    async def on_message(self, message: Any) -> None:
        method = getattr(getattr(message, "root", message), "method", None)
        if method is not None:
            self.notifications.append(method)

    async def on_elicit(self, _context: Any, params: t.ElicitRequestParams) -> t.ElicitResult:
        self.elicitations.append(params.message)
        return t.ElicitResult(action="accept", content={"username": "ada", "email": "ada@example.org"})

    async def on_sample(self, _context: Any, params: t.CreateMessageRequestParams) -> t.CreateMessageResult:
        content = params.messages[0].content
        self.samplings.append(content.text)
        answer = t.TextContent(type="text", text="forty-two")
        return t.CreateMessageResult(role="assistant", content=answer, model="a-test")

    async def wait_for(self, notification: str) -> str:
        for _ in range(int(HEARD_LIMIT / 0.05)):
            if notification in self.notifications:
                return "notification"
            await asyncio.sleep(0.05)
        return "nothing"

    async def roots(self, _context: Any) -> t.ListRootsResult:
        return t.ListRootsResult(roots=[t.Root(uri="file:///somewhere")])


def text(result: Any) -> str:
    return result.content[0].text


async def list_changed(client: Client, ears: Ears, tool: str) -> str:
    """Makes the server change its tools; returns how the client heard of it."""
    if client.protocol_version < "2026":
        await client.call_tool(tool, {})
        return await ears.wait_for("notifications/tools/list_changed")
    async with client.listen(tools_list_changed=True) as subscription:
        await client.call_tool(tool, {})
        async with asyncio.timeout(HEARD_LIMIT):
            async for event in subscription:
                return type(event).__name__
    return "nothing"


async def resource_updated(client: Client, ears: Ears, tool: str) -> str:
    """Watches a resource and makes the server touch it; returns how the client heard of it."""
    if client.protocol_version < "2026":
        await client.subscribe_resource(WATCHED)
        await client.call_tool(tool, {})
        heard = await ears.wait_for("notifications/resources/updated")
        await client.unsubscribe_resource(WATCHED)
        return heard
    async def touch() -> None:
        # Again and again: a gateway may acknowledge before the server behind it does.
        while True:
            await client.call_tool(tool, {})
            await asyncio.sleep(0.5)

    async with client.listen(resource_subscriptions=[WATCHED]) as subscription:
        touching = asyncio.create_task(touch())
        try:
            async with asyncio.timeout(HEARD_LIMIT):
                async for event in subscription:
                    return f"{type(event).__name__} {event.uri}"
        finally:
            touching.cancel()
    return "nothing"


async def run(client: Client, ears: Ears, prefix: str) -> dict:
    report: dict[str, Any] = {"version": client.protocol_version}
    if client.protocol_version < "2026":
        await client.set_logging_level("debug")
    await client.call_tool(prefix + "test_tool_with_progress", {}, progress_callback=ears.on_progress)
    await client.call_tool(prefix + "test_tool_with_logging", {})
    report["sampled"] = text(await client.call_tool(prefix + "test_sampling", {"prompt": "What is the answer?"}))
    report["elicited"] = text(await client.call_tool(prefix + "test_elicitation", {"message": "Who are you?"}))
    report["roots"] = text(await client.call_tool(prefix + "test_input_required_result_list_roots", {}))
    report["resource_updated"] = await resource_updated(client, ears, prefix + "test_trigger_resource_update")
    before = len((await client.list_tools(cache_mode="refresh")).tools)
    report["list_changed"] = await list_changed(client, ears, prefix + "test_trigger_tool_change")
    after = before
    for _ in range(int(HEARD_LIMIT / 0.05)):
        after = len((await client.list_tools(cache_mode="refresh")).tools)
        if after > before:
            break
        await asyncio.sleep(0.05)
    report["new_tools"] = after - before
    return report | vars(ears)


async def main() -> None:
    plan = json.load(sys.stdin)
    ears = Ears()
    async with Client(
        reach(plan), mode=plan["mode"], read_timeout_seconds=20, log_level="debug",
        logging_callback=ears.on_log, message_handler=ears.on_message, elicitation_callback=ears.on_elicit,
        sampling_callback=ears.on_sample, list_roots_callback=ears.roots,
    ) as client:
        report = await run(client, ears, plan["prefix"])
    print(json.dumps(report))


asyncio.run(main())
