#!/usr/bin/env python3
"""A plugin that sees what passes, on the standard library alone: an interceptor, and a message plugin.

As an interceptor it does what the `do` of its configuration says, if the payload is about it. As a message plugin it keeps
what it is told, after the pause that its argument names; the method `heard` gives it all.
"""
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAUSE = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
HEARD = []
LOCK = threading.Lock()


def replaced(value, old, new):
    return json.loads(json.dumps(value).replace(old, new))


def invoke(params):
    what = params.get("config", {}).get("do")
    payload, said = params["payload"], json.dumps(params["payload"])
    with LOCK:
        HEARD.append({"method": "invoke", "params": params})
    if what == "redact":
        changed = replaced(payload, "secret", "[redacted]")
        return {"type": "mutation", "modified": changed != payload, "payload": changed}
    if what == "append":
        changed = replaced(payload, "order:", "order:" + params["name"])
        return {"modified": changed != payload, "payload": changed}
    if what == "smuggle":
        changed = replaced(payload, "innocent", "forbidden")
        return {"modified": changed != payload, "payload": changed}
    if what == "deny" and "deny me" in said:
        return {
            "valid": False,
            "severity": "error",
            "messages": [{"path": "arguments.text", "message": "no such words here", "severity": "error"}],
            "suggestions": [{"path": "arguments.text", "value": "please"}],
        }
    if what == "trouble" and "sleep" in said:
        time.sleep(2)
    if what == "trouble" and "nonsense" in said:
        return {"valid": "perhaps"}
    if what == "trouble" and "crash" in said:
        os._exit(9)
    return {"valid": True}


def answer(method, params):
    if method == "invoke":
        return invoke(params)
    if method == "heard":
        with LOCK:
            return list(HEARD)
    if method.startswith("handle-"):
        time.sleep(PAUSE)
        with LOCK:
            HEARD.append({"method": method, "params": params})
        return "ok"
    raise KeyError(method)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for an answer: two of them would wait for each other (Nagle and delayed acknowledgements, 40 ms).
    wbufsize = -1

    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply(200, {"status": "ok"})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self.reply(200, {"result": answer(request["method"], request["params"])})
        except KeyError as error:
            self.reply(404, {"error": f"unknown method {error}"})

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", 0), Handler)
print(f"PORT={server.server_address[1]}", flush=True)
server.serve_forever()
