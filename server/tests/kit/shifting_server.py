#!/usr/bin/env python3
"""An MCP server over stdio that offers what a file says, and tells when the file has changed.

    python shifting_server.py CATALOG.json      # {"tools": [...], "prompts": [...]}

Every tool answers with its name and the description that it has at that moment.
"""
import json
import os
import sys
import threading
import time

CATALOG = sys.argv[1]
WRITING = threading.Lock()


def read() -> dict:
    with open(CATALOG, encoding="utf-8") as file:
        return json.load(file)


def send(message: dict) -> None:
    with WRITING:
        print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def watch(seen: os.stat_result) -> None:
    while True:
        time.sleep(0.02)
        now = os.stat(CATALOG)
        if (now.st_ino, now.st_mtime_ns) != (seen.st_ino, seen.st_mtime_ns):
            seen = now
            send({"method": "notifications/tools/list_changed"})
            send({"method": "notifications/prompts/list_changed"})


def answer(method: str, params: dict) -> dict:
    if method == "initialize":
        changing = {"listChanged": True}
        return {"protocolVersion": params["protocolVersion"], "serverInfo": {"name": "shifting", "version": "1"},
                "capabilities": {"tools": changing, "prompts": changing}}
    if method == "tools/list":
        return {"tools": read().get("tools", [])}
    if method == "prompts/list":
        return {"prompts": read().get("prompts", [])}
    if method == "tools/call":
        found = [tool for tool in read()["tools"] if tool["name"] == params["name"]]
        if not found:
            raise LookupError(f"Unknown tool: {params['name']}")
        return {"content": [{"type": "text", "text": f"{found[0]['name']}: {found[0]['description']}"}]}
    if method == "ping":
        return {}
    raise NotImplementedError(method)


threading.Thread(target=watch, args=(os.stat(CATALOG),), daemon=True).start()
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked or "method" not in asked:
        continue
    try:
        send({"id": asked["id"], "result": answer(asked["method"], asked.get("params", {}))})
    except LookupError as error:
        send({"id": asked["id"], "error": {"code": -32602, "message": str(error)}})
    except NotImplementedError as error:
        send({"id": asked["id"], "error": {"code": -32601, "message": f"Method not found: {error}"}})
