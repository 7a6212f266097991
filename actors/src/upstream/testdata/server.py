"""A stdio MCP server for tests. The argument says which eras it speaks and how it takes the others."""
import json
import os
import sys

kind = sys.argv[1]
MODERN = "2026-07-28"
tools = ["echo", "grow", "ask", "die"]
watched = []
era = None
listening = None


def say(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def result(request, **members):
    if era == "modern":
        members["resultType"] = "complete"
    say({"id": request["id"], "result": members})


def error(request, code):
    say({"id": request["id"], "error": {"code": code, "message": "no"}})


def tell(method, **params):
    if era == "modern":
        params["_meta"] = {"io.modelcontextprotocol/subscriptionId": listening}
    if era == "legacy" or listening is not None:
        say({"method": method, "params": params})


CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
waiting = None

if kind == "broken":
    sys.exit(3)

for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params", {})
    modern = MODERN == params.get("_meta", {}).get("io.modelcontextprotocol/protocolVersion")
    if method is None:
        result(waiting, content=[{"type": "text", "text": json.dumps(message)}])
        continue
    if "id" not in message:
        continue
    if era is None:
        if modern and kind == "exits":
            sys.exit(1)
        if modern and kind == "silent":
            continue
        if kind == ("legacy" if modern else "modern"):
            error(message, -32601 if modern else -32022)
            continue
        era = "modern" if modern else "legacy"
    assert modern == (era == "modern"), message
    if method == "initialize":
        result(message, protocolVersion="2025-06-18", capabilities=CAPABILITIES, serverInfo={"name": kind})
    elif method == "server/discover":
        result(message, supportedVersions=[MODERN], capabilities=CAPABILITIES)
    elif method == "tools/list":
        result(message, tools=[{"name": name} for name in tools])
    elif method == "resources/list":
        result(message, resources=[{"uri": "test://1"}])
    elif method in ("resources/subscribe", "resources/unsubscribe"):
        result(message)
        tell("notifications/resources/updated", uri=params["uri"])
    elif method == "subscriptions/listen":
        listening = message["id"]
        tell("notifications/subscriptions/acknowledged")
        for uri in params["notifications"].get("resourceSubscriptions", []):
            tell("notifications/resources/updated", uri=uri)
    elif method == "tools/call" and params["name"] == "grow":
        tools.append(f"tool{len(tools)}")
        tell("notifications/tools/list_changed")
        result(message, content=[])
    elif method == "tools/call" and params["name"] == "ask":
        waiting = message
        say({"id": 1, "method": "roots/list"})
    elif method == "tools/call" and params["name"] == "die":
        os._exit(9)
    elif method == "tools/call":
        result(message, content=[{"type": "text", "text": str(os.getpid())}])
    else:
        error(message, -32601)
