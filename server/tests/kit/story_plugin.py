#!/usr/bin/env python3
"""A plugin of protocol version 1 that does what a test asks, also what no plugin should. Standard library alone.

    python story_plugin.py                         # over HTTP; prints PORT=<n>
    python story_plugin.py --port 8081             # the same at that port
    python story_plugin.py --pipes                 # a line of JSON for a line of JSON, by id, in any order
    python story_plugin.py --pipes --in-order      # the same without ids, one after the other
    ... --ill 3                                    # says that it is not ready, that often
"""
import argparse
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ARGUMENTS = argparse.ArgumentParser()
ARGUMENTS.add_argument("--port", type=int, default=0)
ARGUMENTS.add_argument("--ill", type=int, default=0)
ARGUMENTS.add_argument("--any-address", action="store_true")
ARGUMENTS.add_argument("--pipes", action="store_true")
ARGUMENTS.add_argument("--in-order", action="store_true")
OPTIONS = ARGUMENTS.parse_args()

lock = threading.Lock()
ill = OPTIONS.ill
hung = threading.Event()
transcript = []


def ready():
    global ill
    while hung.is_set():
        time.sleep(1)
    with lock:
        ill -= 1
        return ill < 0


def flood(size):
    line = ("x" * 99 + "\n").encode()
    for stream in (1, 2):
        left = size
        while left > 0:
            left -= os.write(stream, line[:left])
    return "ok"


def answer(method, params):
    if method == "health":
        return {"result": {"version": "3.2.1"}} if ready() else {"error": "not ready"}
    if method == "echo":
        return {"result": params}
    if method == "fail":
        return {"error": "on purpose"}
    if method == "huge":
        return {"result": "x" * (2 << 20)}
    if method == "slow":
        time.sleep(params["seconds"])
        return {"result": "late"}
    if method == "crash":
        os._exit(3)
    if method == "hang":
        hung.set()
        return {"result": "ok"}
    if method == "flood":
        return {"result": flood(params["bytes"])}
    if method == "transcript":
        return {"result": transcript}
    return {"error": f"unknown method: {method}"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body):
        body = body.encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if ready():
            self.reply(200, '{"version":"3.2.1"}')
        else:
            self.reply(503, "not ready")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = json.loads(body)
        if asked["method"] != "transcript":
            transcript.append([self.command, self.path, self.headers["Content-Type"], body])
        if hung.is_set():
            time.sleep(60)
        self.reply(200, json.dumps(answer(asked["method"], asked["params"])))

    def log_message(self, *_):
        pass


def over_pipes():
    def one(asked):
        said = answer(asked["method"], asked["params"])
        if not OPTIONS.in_order:
            said = {"id": asked["id"], **said}
        with lock:
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()

    for line in sys.stdin:
        asked = json.loads(line)
        if OPTIONS.in_order:
            one(asked)
        else:
            threading.Thread(target=one, args=(asked,), daemon=True).start()


def over_http():
    host = "0.0.0.0" if OPTIONS.any_address else "127.0.0.1"
    ThreadingHTTPServer.request_queue_size = 64
    server = ThreadingHTTPServer((host, OPTIONS.port), Handler)
    print(f"PORT={server.server_address[1]}", flush=True)
    server.serve_forever()


over_pipes() if OPTIONS.pipes else over_http()
