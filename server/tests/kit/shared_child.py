#!/usr/bin/env python3
"""A legacy stdio server that does not mind its manners, for tests of who hears what a shared child says.

    python shared_child.py LOG       # every line that it reads is also written to the file LOG

Tools: `work` is never done and does not mind being cancelled; `wait` has that work say what it knows and ask its
question, and answers with what it was told; `ask` asks and answers with what it was told; `die` ends the process.
"""
from __future__ import annotations

import json
import os
import sys
from typing import Any

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("work", "wait", "ask", "die")]
RESULTS: dict[str, Any] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}, "logging": {}},
        "serverInfo": {"name": "shared", "version": "1"},
    },
    "ping": {},
    "tools/list": {"tools": TOOLS},
}

asked: dict[int, Any] = {}   # our question: the call that waits for what comes back
work: list[str] = []         # for whom


def say(**members: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **members}) + "\n")
    sys.stdout.flush()


def ask(message: str, call: Any) -> None:
    number = len(asked) + 1   # begins anew with every process
    asked[number] = call
    schema = {"type": "object", "properties": {}}
    say(id=number, method="elicitation/create", params={"message": message, "requestedSchema": schema})


def tell(call: Any, text: str) -> None:
    say(id=call, result={"content": [{"type": "text", "text": text}]})


def use(tool: str, who: str, call: Any) -> None:
    if tool == "work":
        work.append(who)
    elif tool == "wait":
        for busy in work:
            say(method="notifications/message", params={"level": "info", "data": f"the secret of {busy}"})
            ask(f"delete everything of {busy}?", call)
    elif tool == "ask":
        ask(f"{who}, are you sure?", call)
    elif tool == "die":
        os._exit(1)


with open(sys.argv[1], "a", buffering=1) as log:
    for line in sys.stdin:
        log.write(line)
        message = json.loads(line)
        method, number = message.get("method"), message.get("id")
        if method is None:
            if number in asked:
                tell(asked[number], json.dumps(message.get("result") or message.get("error")))
        elif method == "tools/call":
            params = message["params"]
            use(params["name"], params.get("arguments", {}).get("who", ""), number)
        elif method in RESULTS:
            say(id=number, result=RESULTS[method])
        elif number is not None:
            say(id=number, error={"code": -32601, "message": "unknown method"})
