"""A stdio MCP server for tests: it does what the method says."""
import json
import os
import signal
import subprocess
import sys

held, received = [], []


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def answer(request, result):
    say({"jsonrpc": "2.0", "id": request["id"], "result": result})


if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
    say({"jsonrpc": "2.0", "method": "notifications/grandchild", "params": {"pid": child.pid}})

for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    params = message.get("params", {})
    if "id" not in message or method is None:
        received.append(message)
        if method == "release":
            for request in reversed(held):
                answer(request, request["params"])
            held.clear()
    elif method == "echo":
        answer(message, params)
    elif method == "hold":
        held.append(message)
    elif method == "received":
        answer(message, received)
    elif method == "environment":
        answer(message, dict(os.environ))
    elif method == "progress":
        for token in [message["id"], "someone else's"]:
            for step in range(params["steps"]):
                say({"jsonrpc": "2.0", "method": "notifications/progress",
                     "params": {"progressToken": token, "progress": step}})
        answer(message, {})
    elif method == "ask":
        say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "hm"}})
        say({"jsonrpc": "2.0", "id": 1, "method": "roots/list"})
        answer(message, {})
    elif method == "flood":
        for _ in range(200):
            os.write(2, b"x" * 50_000 + b"\n" + b"\x1b[2J" * 100 + b"\n")
        answer(message, {})
    elif method == "garbage":
        sys.stdout.write("Server ready!\n\n{\"a\":\n\xff\n" + "[" * 1000 + "\n")
        answer(message, {})
    elif method == "malformed":
        sys.stdout.write('{"jsonrpc":"2.0","id":%s,"result":{},"error":{}}\n' % json.dumps(message["id"]))
        sys.stdout.flush()
    elif method == "huge":
        answer(message, "x" * params["bytes"])
    elif method == "batch":
        say([{"jsonrpc": "2.0", "method": "notifications/message"},
             {"jsonrpc": "2.0", "id": message["id"], "result": {}}])
    elif method == "twice":
        answer(message, 1)
        answer(message, 2)
    elif method == "hang up":
        os.close(1)
    elif method == "exit":
        answer(message, {})
        sys.stdout.flush()
        os._exit(3)

if "stubborn" in sys.argv:
    while True:
        signal.pause()
