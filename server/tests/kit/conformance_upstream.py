#!/usr/bin/env python3
"""A complete MCP server for conformance runs, on the official Python SDK (PyPI `mcp`, low-level Server).

Serves both protocol eras (initialize handshake up to 2025-11-25, and stateless 2026-07-28) on one
endpoint, and the io.modelcontextprotocol/tasks extension. Fixture names and texts are the ones
the suite @modelcontextprotocol/conformance asks for in its scenario descriptions.

    python conformance_upstream.py --port 3001          # Streamable HTTP at /mcp; 0 (the default) picks a port
    python conformance_upstream.py --stdio              # same server over stdio
    ... --era legacy | --era modern                     # a server that speaks only one era
"""
from __future__ import annotations

import argparse, asyncio, base64, dataclasses, hashlib, hmac, json, secrets, struct, uuid, zlib
from typing import Any

import mcp_types as t
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.subscriptions import PromptsListChanged, ResourceUpdated, ToolsListChanged

MODERN = "2026-07-28"
TASKS = "io.modelcontextprotocol/tasks"
CAPS = "io.modelcontextprotocol/clientCapabilities"
KEY = secrets.token_bytes(32)


def png() -> str:  # 1x1 red pixel
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    raw = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    raw += chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00")) + chunk(b"IEND", b"")
    return base64.b64encode(raw).decode()


def wav() -> str:  # 8 silent samples
    data = b"\x80" * 8
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    return base64.b64encode(head + b"data" + struct.pack("<I", len(data)) + data).decode()


PNG, WAV = png(), wav()


def text(s: str) -> dict: return {"type": "text", "text": s}
def ok(*content: dict) -> dict: return {"content": list(content)}
def obj(required: tuple[str, ...] = (), **props: Any) -> dict:
    s: dict[str, Any] = {"type": "object", "properties": props}
    if required: s["required"] = list(required)
    return s


STR = {"type": "string"}


def form(message: str, **props: Any) -> dict:
    return {"method": "elicitation/create",
            "params": {"mode": "form", "message": message, "requestedSchema": obj(tuple(props), **props)}}


def sample(prompt: str, n: int = 100) -> dict:
    return {"method": "sampling/createMessage",
            "params": {"messages": [{"role": "user", "content": text(prompt)}], "maxTokens": n}}


ROOTS = {"method": "roots/list", "params": {}}


def seal(v: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(v).encode()).decode()
    return body + "." + hmac.new(KEY, body.encode(), hashlib.sha256).hexdigest()


def unseal(s: str | None) -> Any:
    body, _, mac = (s or "").rpartition(".")
    if not hmac.compare_digest(mac, hmac.new(KEY, body.encode(), hashlib.sha256).hexdigest()):
        raise MCPError(-32602, "requestState failed its integrity check")
    return json.loads(base64.urlsafe_b64decode(body))


def ask(requests: dict, state: Any = None) -> dict:
    r: dict[str, Any] = {"resultType": "input_required", "inputRequests": requests}
    if state is not None: r["requestState"] = seal(state)
    return r


def content_of(answers: dict, key: str) -> dict | None:
    a = answers.get(key)
    return a.get("content") or {} if isinstance(a, dict) and a.get("action") == "accept" else None


# ----------------------------------------------------------------- catalogue
SCHEMA_2020 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
    "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": STR, "city": STR}}},
    "properties": {"name": STR, "address": {"$ref": "#/$defs/address"},
                   "contactMethod": {"type": "string", "enum": ["phone", "email"]}, "phone": STR, "email": STR},
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]}, "else": {"required": ["email"]}, "additionalProperties": False,
}
TOOLS: dict[str, dict] = {n: obj() for n in (
    "test_simple_text", "test_image_content", "test_audio_content", "test_embedded_resource",
    "test_multiple_content_types", "test_tool_with_logging", "test_tool_with_progress", "test_error_handling",
    "test_elicitation_sep1034_defaults", "test_elicitation_sep1330_enums", "test_reconnection",
    "test_missing_capability", "test_streaming_elicitation", "test_logging_tool", "test_trigger_tool_change",
    "test_trigger_prompt_change", "test_trigger_resource_update", "test_input_required_result_elicitation", "test_input_required_result_sampling",
    "test_input_required_result_list_roots", "test_input_required_result_request_state",
    "test_input_required_result_multiple_inputs", "test_input_required_result_multi_round",
    "test_input_required_result_tampered_state", "test_input_required_result_capabilities",
    "confirm_delete", "multi_input", "failing_job", "protocol_error_job", "test_tool_with_task")}
TOOLS |= {
    "test_sampling": obj(("prompt",), prompt=STR), "test_elicitation": obj(("message",), message=STR),
    "greet": obj(("name",), name=STR), "slow_compute": obj(seconds={"type": "number"}, label=STR),
    "json_schema_2020_12_tool": SCHEMA_2020,
    "test_x_mcp_header": obj(region={"type": "string", "x-mcp-header": "Region"},
                             count={"type": "integer", "x-mcp-header": "Count"}),
}
TOOLS["confirm_delete"] = obj(filename=STR, path=STR)
TASK_TOOLS = {"slow_compute", "confirm_delete", "multi_input", "failing_job", "protocol_error_job", "test_tool_with_task"}
EXTRA: dict[str, dict] = {}   # names added by test_trigger_*_change
EXTRA_PROMPTS: list[str] = []
BUS = InMemorySubscriptionBus()


def modern(ctx: Any) -> bool: return ctx.protocol_version == MODERN


def caps(ctx: Any) -> dict:
    if modern(ctx):
        return ((ctx.params or {}).get("_meta") or {}).get(CAPS) or {}
    c = ctx.session.client_capabilities
    return c.model_dump(by_alias=True, exclude_none=True) if c else {}


def missing(**required: Any) -> MCPError:
    return MCPError(-32021, "missing required client capability", {"requiredCapabilities": required})


async def list_tools(ctx: Any, _p: Any) -> dict:
    return {"tools": [{"name": n, "description": f"conformance fixture {n}", "inputSchema": s}
                      for n, s in {**TOOLS, **EXTRA}.items()]}


# --------------------------------------------------------------------- tools
async def call_tool(ctx: Any, p: t.CallToolRequestParams) -> dict:
    raw = ctx.params or {}
    name, args = p.name, p.arguments or {}
    answers, state = raw.get("inputResponses") or {}, raw.get("requestState")
    if name not in TOOLS and name not in EXTRA:
        raise MCPError(-32602, f"Unknown tool: {name}")
    if name in TASK_TOOLS:
        return await task_tool(ctx, name, args, answers, state)
    match name:
        case "test_simple_text": return ok(text("This is a simple text response for testing."))
        case "test_image_content": return ok({"type": "image", "data": PNG, "mimeType": "image/png"})
        case "test_audio_content": return ok({"type": "audio", "data": WAV, "mimeType": "audio/wav"})
        case "test_embedded_resource":
            return ok({"type": "resource", "resource": {"uri": "test://embedded-resource", "mimeType": "text/plain",
                                                        "text": "This is an embedded resource content."}})
        case "test_multiple_content_types":
            return ok(text("Multiple content types test:"), {"type": "image", "data": PNG, "mimeType": "image/png"},
                      {"type": "resource", "resource": {"uri": "test://mixed-content-resource",
                       "mimeType": "application/json", "text": '{"test":"data","value":123}'}})
        case "test_error_handling":
            return {"content": [text("This tool intentionally returns an error for testing")], "isError": True}
        case "greet": return ok(text(f"Hello, {args.get('name', 'world')}!"))
        case "json_schema_2020_12_tool" | "test_x_mcp_header": return ok(text(json.dumps(args, sort_keys=True)))
        case "test_tool_with_logging" | "test_logging_tool":
            for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
                await ctx.session.send_log_message(level="info", data=line, related_request_id=ctx.request_id)
                await asyncio.sleep(0.05)
            return ok(text("logged three lines"))
        case "test_tool_with_progress":
            for v in (0, 50, 100):
                await ctx.session.report_progress(v, 100)
                await asyncio.sleep(0.05)
            return ok(text("progress reported"))
        case "test_reconnection":
            if ctx.close_sse_stream:
                await ctx.close_sse_stream()
            await asyncio.sleep(0.1)
            return ok(text("delivered after the stream was closed"))
        case "test_sampling":
            if "sampling" not in caps(ctx): return {"content": [text("client has no sampling")], "isError": True}
            if "llm" not in answers: return ask({"llm": sample(args["prompt"])})
            return ok(text(f"LLM response: {(answers['llm'].get('content') or {}).get('text', '')}"))
        case "test_elicitation":
            return elicit(ctx, answers, args["message"], "User response",
                                obj(("username", "email"), username={**STR, "description": "User's response"},
                                    email={**STR, "description": "User's email address"}))
        case "test_elicitation_sep1034_defaults":
            return elicit(ctx, answers, "Confirm the defaults", "Elicitation completed", obj(
                name={**STR, "default": "John Doe"}, age={"type": "integer", "default": 30},
                score={"type": "number", "default": 95.5},
                status={**STR, "enum": ["active", "inactive", "pending"], "default": "active"},
                verified={"type": "boolean", "default": True}))
        case "test_elicitation_sep1330_enums":
            opts = ["option1", "option2", "option3"]
            titled = [{"const": f"value{i}", "title": x} for i, x in ((1, "First Option"), (2, "Second Option"), (3, "Third Option"))]
            choice = [{"const": f"value{i}", "title": x} for i, x in ((1, "First Choice"), (2, "Second Choice"), (3, "Third Choice"))]
            return elicit(ctx, answers, "Choose", "Elicitation completed", obj(
                untitledSingle={**STR, "enum": opts}, titledSingle={**STR, "oneOf": titled},
                legacyEnum={**STR, "enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]},
                untitledMulti={"type": "array", "items": {**STR, "enum": opts}},
                titledMulti={"type": "array", "items": {"anyOf": choice}}))
        case "test_missing_capability":
            if "sampling" not in caps(ctx): raise missing(sampling={})
            return ok(text("sampling is declared"))
        case "test_streaming_elicitation":
            await ctx.session.report_progress(1, 2)
            if content_of(answers, "answer") is None: return ask({"answer": form("Continue?", ok={"type": "boolean"})})
            return ok(text("continued"))
        case "test_trigger_tool_change":
            EXTRA[f"added_{len(EXTRA)}"] = obj()
            await (BUS.publish(ToolsListChanged()) if modern(ctx) else ctx.session.send_tool_list_changed())
            return ok(text("tool list changed"))
        case "test_trigger_prompt_change":
            EXTRA_PROMPTS.append(f"added_{len(EXTRA_PROMPTS)}")
            await (BUS.publish(PromptsListChanged()) if modern(ctx) else ctx.session.send_prompt_list_changed())
            return ok(text("prompt list changed"))
        case "test_trigger_resource_update":
            if modern(ctx): await BUS.publish(ResourceUpdated(uri=WATCHED))
            for subscriber in SUBSCRIBERS: await subscriber.send_resource_updated(WATCHED)
            return ok(text("resource updated"))
        # ---- multi round-trip
        case "test_input_required_result_elicitation":
            c = content_of(answers, "user_name")
            if not c or not isinstance(c.get("name"), str): return ask({"user_name": form("What is your name?", name=STR)})
            return ok(text(f"Hello, {c['name']}!"))
        case "test_input_required_result_sampling":
            a = answers.get("capital_question")
            if not a: return ask({"capital_question": sample("What is the capital of France?")})
            return ok(text(f"The model said: {(a.get('content') or {}).get('text', '')}"))
        case "test_input_required_result_list_roots":
            a = answers.get("client_roots")
            if not a: return ask({"client_roots": ROOTS})
            return ok(text("roots: " + ", ".join(r.get("uri", "") for r in a.get("roots", []))))
        case "test_input_required_result_request_state":
            if "confirm" not in answers: return ask({"confirm": form("Please confirm", ok={"type": "boolean"})}, "asked")
            unseal(state)
            return ok(text("state-ok"))
        case "test_input_required_result_multiple_inputs":
            if not {"user_name", "greeting", "client_roots"} <= answers.keys():
                return ask({"user_name": form("What is your name?", name=STR), "greeting": sample("Generate a greeting", 50),
                            "client_roots": ROOTS}, "multi")
            unseal(state)
            return ok(text("all three inputs received"))
        case "test_input_required_result_multi_round":
            s = unseal(state) if state else {"step": 0}
            if s["step"] == 0: return ask({"step1": form("Step 1: What is your name?", name=STR)}, {"step": 1})
            if s["step"] == 1:
                c = content_of(answers, "step1")
                if c is None: return ask({"step1": form("Step 1: What is your name?", name=STR)}, {"step": 1})
                return ask({"step2": form("Step 2: What is your favorite color?", color=STR)}, {"step": 2, "name": c.get("name")})
            return ok(text(f"{s['name']} likes {(content_of(answers, 'step2') or {}).get('color')}"))
        case "test_input_required_result_tampered_state":
            if state is None: return ask({"confirm": form("Confirm?", ok={"type": "boolean"})}, "sealed")
            unseal(state)
            return ok(text("state intact"))
        case "test_input_required_result_capabilities":
            have, want = caps(ctx), {}
            if "sampling" in have: want["q"] = sample("Say something")
            if "elicitation" in have: want["e"] = form("Your name?", name=STR)
            if "roots" in have: want["r"] = ROOTS
            return ask(want) if want and not answers else ok(text("nothing more to ask"))
    return ok(text(f"{name} ran"))


def elicit(ctx: Any, answers: dict, message: str, label: str, schema: dict) -> dict:
    if "elicitation" not in caps(ctx): return {"content": [text("client has no elicitation")], "isError": True}
    if "user" not in answers:
        return ask({"user": {"method": "elicitation/create",
                             "params": {"mode": "form", "message": message, "requestedSchema": schema}}})
    r = answers["user"]
    return ok(text(f"{label}: action={r.get('action')}, content={json.dumps(r.get('content'))}"))


# ----------------------------------------------------- tasks extension (SEP-2663)
STORE: dict[str, dict] = {}


def now() -> str:
    import datetime
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def has_tasks(ctx: Any) -> bool: return TASKS in (caps(ctx).get("extensions") or {})


def settle(task: dict, status: str, **more: Any) -> None:
    if task["status"] in ("completed", "failed", "cancelled"): return
    task.pop("inputRequests", None)
    task.update(status=status, lastUpdatedAt=now(), **more)


def start(work: Any) -> dict:
    tid = uuid.uuid4().hex
    task: dict[str, Any] = {"taskId": tid, "status": "working", "createdAt": now(), "lastUpdatedAt": now(),
                            "ttlMs": 60000, "pollIntervalMs": 100}
    task["_answers"], task["_wake"] = {}, asyncio.Event()
    STORE[tid] = task
    created = {"resultType": "task", **{k: v for k, v in task.items() if k[0] != "_"}}
    task["_job"] = asyncio.get_running_loop().create_task(run(task, work))
    return created


async def run(task: dict, work: Any) -> None:
    try:
        settle(task, "completed", result=await work(task))
    except asyncio.CancelledError:
        settle(task, "cancelled")
    except MCPError as e:
        settle(task, "failed", error={"code": e.error.code, "message": e.error.message})


async def gather(task: dict, requests: dict) -> dict:
    task.update(status="input_required", inputRequests=dict(requests), lastUpdatedAt=now())
    while task["inputRequests"]:
        task["_wake"].clear()
        await task["_wake"].wait()
    task.update(status="working", lastUpdatedAt=now())
    task.pop("inputRequests", None)
    return task["_answers"]


async def task_tool(ctx: Any, name: str, args: dict, answers: dict, state: str | None) -> dict:
    async def slow(_t: dict) -> dict:
        await asyncio.sleep(float(args.get("seconds", 0)))
        return {"content": [text(f"slow_compute finished after {args.get('seconds', 0)}s")], "isError": False}

    async def confirm(tk: dict) -> dict:
        got = await gather(tk, {uuid.uuid4().hex: form("Really delete?", confirm={"type": "boolean"})})
        return ok(text(f"delete answered: {json.dumps(list(got.values()))}"))

    async def multi(tk: dict) -> dict:
        got = await gather(tk, {uuid.uuid4().hex: form("First?", a=STR), uuid.uuid4().hex: form("Second?", b=STR)})
        return ok(text(f"{len(got)} answers"))

    async def failing(_t: dict) -> dict:
        await asyncio.sleep(1)
        return {"content": [text("the job failed")], "isError": True}

    async def broken(_t: dict) -> dict:
        raise MCPError(-32603, "the job crashed")

    if name == "test_tool_with_task":
        c = content_of(answers, "user_name")
        if c is None: return ask({"user_name": form("What is your name?", name=STR)}, "task")
        if not has_tasks(ctx): raise missing(extensions={TASKS: {}})
        unseal(state) if state else None

        async def named(_t: dict) -> dict: return ok(text(f"task for {c.get('name')}"))
        return start(named)
    work = {"slow_compute": slow, "confirm_delete": confirm, "multi_input": multi, "failing_job": failing,
            "protocol_error_job": broken}[name]
    if has_tasks(ctx):
        if name == "slow_compute" and float(args.get("seconds", 0)) == 0: return await slow({})
        return start(work)
    if name == "slow_compute": return await slow({})
    if name == "failing_job" and not modern(ctx): return await failing({})
    raise missing(extensions={TASKS: {}})



def task_of(ctx: Any) -> dict:
    if not has_tasks(ctx): raise missing(extensions={TASKS: {}})
    tid = (ctx.params or {}).get("taskId")
    hdr = (ctx.request.headers.get("mcp-name") if ctx.request is not None else None)
    if hdr is not None and hdr.strip() != tid: raise MCPError(-32020, f"Mcp-Name header does not match taskId")
    if tid not in STORE: raise MCPError(-32602, f"unknown task: {tid}")
    return STORE[tid]


async def tasks_get(ctx: Any, _p: Any) -> dict:
    return {"resultType": "complete", **{k: v for k, v in task_of(ctx).items() if k[0] != "_"}}


async def tasks_update(ctx: Any, _p: Any) -> dict:
    task = task_of(ctx)
    for k, v in ((ctx.params or {}).get("inputResponses") or {}).items():
        if task.get("inputRequests", {}).pop(k, None): task["_answers"][k] = v
    task["_wake"].set()
    return {"resultType": "complete"}


async def tasks_cancel(ctx: Any, _p: Any) -> dict:
    task = task_of(ctx)
    if task["status"] not in ("completed", "failed", "cancelled"):
        settle(task, "cancelled")
        task["_job"].cancel()
    return {"resultType": "complete"}


# ---------------------------------------------------- resources, prompts, rest
RES = {"test://static-text": ("text/plain", "This is the content of the static text resource."),
       "test://watched-resource": ("text/plain", "Watched resource content")}


async def list_resources(ctx: Any, _p: Any) -> dict:
    out = [{"uri": u, "name": u.split("//")[1], "description": "text fixture", "mimeType": m} for u, (m, _) in RES.items()]
    return {"resources": out + [{"uri": "test://static-binary", "name": "static-binary", "description": "binary fixture",
                                 "mimeType": "image/png"}]}


async def list_templates(ctx: Any, _p: Any) -> dict:
    return {"resourceTemplates": [{"uriTemplate": "test://template/{id}/data", "name": "template",
                                   "description": "template fixture", "mimeType": "application/json"}]}


async def read_resource(ctx: Any, p: t.ReadResourceRequestParams) -> dict:
    uri = str(p.uri)
    if uri in RES: return {"contents": [{"uri": uri, "mimeType": RES[uri][0], "text": RES[uri][1]}]}
    if uri == "test://static-binary": return {"contents": [{"uri": uri, "mimeType": "image/png", "blob": PNG}]}
    if uri.startswith("test://template/") and uri.endswith("/data"):
        i = uri[len("test://template/"):-len("/data")]
        body = json.dumps({"id": i, "templateTest": True, "data": f"Data for ID: {i}"}, separators=(",", ":"))
        return {"contents": [{"uri": uri, "mimeType": "application/json", "text": body}]}
    raise MCPError(-32602 if modern(ctx) else -32002, "Resource not found", {"uri": uri})


PROMPTS = {"test_simple_prompt": [], "test_prompt_with_arguments": ["arg1", "arg2"],
           "test_prompt_with_embedded_resource": ["resourceUri"], "test_prompt_with_image": [],
           "test_input_required_result_prompt": []}


async def list_prompts(ctx: Any, _p: Any) -> dict:
    return {"prompts": [{"name": n, "description": f"conformance fixture {n}",
                         "arguments": [{"name": a, "description": a, "required": True} for a in args]}
                        for n, args in {**PROMPTS, **{n: [] for n in EXTRA_PROMPTS}}.items()]}


async def get_prompt(ctx: Any, p: t.GetPromptRequestParams) -> dict:
    a = p.arguments or {}
    def msgs(*c: dict) -> dict: return {"messages": [{"role": "user", "content": x} for x in c]}
    match p.name:
        case "test_simple_prompt": return msgs(text("This is a simple prompt for testing."))
        case "test_prompt_with_arguments":
            return msgs(text(f"Prompt with arguments: arg1='{a.get('arg1')}', arg2='{a.get('arg2')}'"))
        case "test_prompt_with_embedded_resource":
            return msgs({"type": "resource", "resource": {"uri": a.get("resourceUri"), "mimeType": "text/plain",
                                                          "text": "Embedded resource content for testing."}},
                        text("Please process the embedded resource above."))
        case "test_prompt_with_image":
            return msgs({"type": "image", "data": PNG, "mimeType": "image/png"}, text("Please analyze the image above."))
        case "test_input_required_result_prompt":
            c = content_of((ctx.params or {}).get("inputResponses") or {}, "user_context")
            if c is None: return ask({"user_context": form("What context should the prompt use?", context=STR)})
            return msgs(text(f"Use this context: {c.get('context')}"))
    if p.name in EXTRA_PROMPTS: return msgs(text("added"))
    raise MCPError(-32602, f"Unknown prompt: {p.name}")


async def empty(ctx: Any, _p: Any) -> dict: return {}


WATCHED = "test://watched-resource"
SUBSCRIBERS: list[Any] = []   # sessions of the handshake era that watch it


async def subscribe(ctx: Any, p: t.SubscribeRequestParams) -> dict:
    if str(p.uri) == WATCHED: SUBSCRIBERS.append(ctx.session)
    return {}


async def unsubscribe(ctx: Any, p: t.UnsubscribeRequestParams) -> dict:
    if str(p.uri) == WATCHED: SUBSCRIBERS.clear()
    return {}


async def complete(ctx: Any, p: t.CompleteRequestParams) -> dict:
    values = [v for v in ("paris", "park", "party") if v.startswith(p.argument.value)]
    return {"completion": {"values": values, "total": len(values), "hasMore": False}}


class Events(EventStore):
    """In-memory replay so that a stream closed mid-call can be resumed (SEP-1699)."""
    def __init__(self) -> None: self.log: list[tuple[str, str, Any]] = []
    async def store_event(self, stream_id: str, message: Any) -> str:
        eid = f"{stream_id}::{len(self.log)}"
        self.log.append((eid, stream_id, message))
        return eid
    async def replay_events_after(self, last_event_id: str, send_callback: Any) -> str | None:
        pos = next((i for i, e in enumerate(self.log) if e[0] == last_event_id), None)
        if pos is None: return None
        sid = self.log[pos][1]
        for eid, s, m in self.log[pos + 1:]:
            if s == sid and m is not None: await send_callback(EventMessage(m, eid))
        return sid


def era(handler: Any) -> Any:
    """Finish a handler's result for the era of the request it answers.

    Stateless era: results carry resultType. Handshake era: a handler that wants input says so with the
    same `ask(...)`; here it is turned into server-to-client requests and the handler is run again, so
    that every fixture that asks for input works in both eras.
    """
    async def wrapped(ctx: Any, p: Any) -> dict:
        r = await handler(ctx, p)
        if modern(ctx): return {"resultType": "complete", **r}
        while r.get("resultType") == "input_required":
            answers = {k: await legacy_ask(ctx, q) for k, q in r["inputRequests"].items()}
            params = {**(ctx.params or {}), "inputResponses": answers}
            if "requestState" in r: params["requestState"] = r["requestState"]
            ctx = dataclasses.replace(ctx, params=params)
            r = await handler(ctx, p)
        return r
    return wrapped


class AnyResult(t.Result):
    model_config = {**t.Result.model_config, "extra": "allow"}


async def legacy_ask(ctx: Any, q: dict) -> dict:
    kind = {"elicitation/create": t.ElicitRequest, "sampling/createMessage": t.CreateMessageRequest,
            "roots/list": t.ListRootsRequest}[q["method"]]
    request = kind.model_validate(q)
    r = await ctx.session.send_request(request, AnyResult, metadata=ServerMessageMetadata(related_request_id=ctx.request_id))
    return r.model_dump(by_alias=True, mode="json", exclude_none=True)


def only(app: Any, which: str) -> Any:
    """Make the HTTP endpoint single-era, to stand in for servers that never learned the other one."""
    async def guard(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http": return await app(scope, receive, send)
        h = {k.decode().lower(): v.decode() for k, v in scope["headers"]}
        now_modern = h.get("mcp-protocol-version") == MODERN
        if which == "legacy" and now_modern:
            status, body = 400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message":
                                 f"Bad Request: Unsupported protocol version: {MODERN}"}}
        elif which == "modern" and scope["method"] in ("GET", "DELETE"):
            status, body = 405, {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "Method not allowed"}}
        elif which == "modern" and not now_modern:
            status, body = 400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32022, "message": "Unsupported protocol version",
                                 "data": {"supported": [MODERN], "requested": h.get("mcp-protocol-version", "")}}}
        else:
            return await app(scope, receive, send)
        sent = b""
        while scope["method"] == "POST":
            part = await receive()
            sent += part.get("body", b"")
            if not part.get("more_body"): break
        try: body["id"] = json.loads(sent).get("id")
        except ValueError: pass
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})
    return guard


def build() -> Server:
    hint = CacheHint(ttl_ms=1000, scope="public")
    s: Server = Server(
        "weir-conformance-upstream", version="1.0.0",
        cache_hints={m: hint for m in ("server/discover", "tools/list", "prompts/list", "resources/list",
                                       "resources/templates/list", "resources/read")},
        get_tool_input_schema=lambda n: {**TOOLS, **EXTRA}.get(n),
        on_list_tools=era(list_tools), on_call_tool=era(call_tool), on_list_resources=era(list_resources),
        on_list_resource_templates=era(list_templates), on_read_resource=era(read_resource), on_subscribe_resource=era(subscribe),
        on_unsubscribe_resource=era(unsubscribe), on_subscriptions_listen=ListenHandler(BUS), on_list_prompts=era(list_prompts),
        on_get_prompt=era(get_prompt), on_completion=era(complete), on_set_logging_level=era(empty))
    s.extensions = {TASKS: {}}
    options = s.create_initialization_options
    s.create_initialization_options = lambda n=None, *a, **k: options(n or NotificationOptions(True, True, True), *a, **k)
    for m, h in (("tasks/get", tasks_get), ("tasks/update", tasks_update), ("tasks/cancel", tasks_cancel)):
        s.add_request_handler(m, t.RequestParams, h)
    return s


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--host", default="127.0.0.1"); ap.add_argument("--port", type=int, default=0)
    ap.add_argument("--stdio", action="store_true")
    ap.add_argument("--sse", action="store_true", help="HTTP+SSE at /sse")
    ap.add_argument("--era", choices=("both", "legacy", "modern"), default="both")
    a = ap.parse_args()
    server = build()
    if a.stdio:
        from mcp.server.stdio import stdio_server
        async def one_era(ctx: Any, call_next: Any) -> Any:
            if a.era != "both" and modern(ctx) != (a.era == "modern"): raise MCPError(-32601, f"Method not found: {ctx.method}")
            return await call_next(ctx)
        server.middleware.append(one_era)
        async def main() -> None:
            async with stdio_server() as (r, w):
                await server.run(r, w, server.create_initialization_options(NotificationOptions(True, True, True)))
        asyncio.run(main())
    elif a.sse:
        from mcp.server.sse import SseServerTransport
        from serving import serve
        transport = SseServerTransport("/messages/")
        async def old(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            if scope["path"] != "/sse" or scope["method"] != "GET":
                return await transport.handle_post_message(scope, receive, send)
            async with transport.connect_sse(scope, receive, send) as (r, w):
                await server.run(r, w, server.create_initialization_options(NotificationOptions(True, True, True)))
        serve(old, a.host, a.port)
    else:
        from serving import serve
        app = server.streamable_http_app(event_store=Events(), retry_interval=100, host=a.host)
        serve(app if a.era == "both" else only(app, a.era), a.host, a.port)
