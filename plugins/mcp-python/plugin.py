#!/usr/bin/env python3
"""A weir plugin that is an MCP server, on the official Python SDK: one tool per method of the roles that it plays.

    python plugin.py --role auth_provider --keys keys.json
    python plugin.py --role credential_storage --role auth_proxy --data credentials.db
    python plugin.py --role policy_evaluator --deny alice:files --deny bob:*
    python plugin.py --role audit_sink --events events.jsonl
    python plugin.py --role telemetry                  # the totals are at /totals
    ... --port 9000 --cert server.pem --key server.key # https://127.0.0.1:9000/mcp

The first line of standard output is `plugin ready URL`; after it, every request is said as `asked METHOD [TOOL]`.

Texts that may be left out are `str = ""` and not `str | None`: for anything but a plain `str` the SDK reads a text that
looks like JSON as JSON, so that a body `{}` or a tenant `null` would not arrive as it was sent.
"""
from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import socket
import sqlite3
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class UserPrincipal(BaseModel):
    user_id: str
    tenant_id: str | None = None
    roles: list[str] = []
    groups: list[str] = []


class Decision(BaseModel):
    allowed: bool
    reason: str = ""


class Credential(BaseModel):
    value: str


class CredentialInfo(BaseModel):
    server: str
    cred_type: str
    created_at: str


class Injected(BaseModel):
    headers: dict[str, str]
    body: str


class Keys:
    """API keys, of which only the SHA-256 is kept: `[{"sha256": HEX, "user_id": ..., "tenant_id": ..., ...}]`."""

    def __init__(self, file: Path) -> None:
        self.entries = json.loads(file.read_text())

    def validate_credential(self, type: str, value: str) -> UserPrincipal:
        """Says whose key this is."""
        presented = hashlib.sha256(value.encode()).hexdigest()
        owner = None
        for entry in self.entries:  # All of them, so that how long it takes says nothing.
            if hmac.compare_digest(entry["sha256"], presented):
                owner = entry
        if type not in ("api_key", "bearer") or owner is None:
            raise ToolError("unknown credential")
        return UserPrincipal.model_validate({k: v for k, v in owner.items() if k != "sha256"})


class Store:
    """Credentials in SQLite. Every statement names the user: nobody reaches another's."""

    def __init__(self, file: Path) -> None:
        self.lock = threading.Lock()
        self.db = sqlite3.connect(file, check_same_thread=False)
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS credentials (user_id TEXT, mcp_server TEXT, credential_type TEXT, value TEXT,"
            " created_at TEXT, PRIMARY KEY (user_id, mcp_server, credential_type))")

    def run(self, statement: str, *values: str) -> list[tuple]:
        with self.lock, self.db:
            return self.db.execute(statement, values).fetchall()

    def store_credential(self, user_id: str, mcp_server: str, credential_type: str, value: str) -> str:
        """Keeps a credential of a user for a server, instead of the one before."""
        now = datetime.now(timezone.utc).isoformat()
        self.run("INSERT OR REPLACE INTO credentials VALUES (?, ?, ?, ?, ?)",
                 user_id, mcp_server, credential_type, value, now)
        return "stored"

    def retrieve_credential(self, user_id: str, mcp_server: str, credential_type: str) -> Credential:
        """Returns a credential of a user for a server."""
        found = self.run("SELECT value FROM credentials WHERE user_id = ? AND mcp_server = ? AND credential_type = ?",
                         user_id, mcp_server, credential_type)
        if not found:
            raise ToolError("no such credential")
        return Credential(value=found[0][0])

    def delete_credential(self, user_id: str, mcp_server: str, credential_type: str) -> str:
        """Forgets a credential of a user for a server."""
        self.run("DELETE FROM credentials WHERE user_id = ? AND mcp_server = ? AND credential_type = ?",
                 user_id, mcp_server, credential_type)
        return "deleted"

    def list_credentials(self, user_id: str) -> list[CredentialInfo]:
        """Lists the credentials of a user, without their values."""
        rows = self.run("SELECT mcp_server, credential_type, created_at FROM credentials WHERE user_id = ?"
                        " ORDER BY mcp_server, credential_type", user_id)
        return [CredentialInfo(server=server, cred_type=kind, created_at=at) for server, kind, at in rows]

    def inject_credentials(self, user_id: str, mcp_server: str, target_url: str, method: str,
                           tenant_id: str = "", headers: dict[str, str] | None = None, body: str = "") -> Injected:
        """Adds the user's bearer token for the server to a request."""
        found = self.run("SELECT value FROM credentials WHERE user_id = ? AND mcp_server = ?"
                         " AND credential_type = 'bearer'", user_id, mcp_server)
        headers = dict(headers or {})
        if found:
            headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            headers["Authorization"] = f"Bearer {found[0][0]}"
        return Injected(headers=headers, body=body)


class Policy:
    """Everything is allowed but what `--deny USER:SERVER` denies; `*` stands for all."""

    def __init__(self, denied: list[str]) -> None:
        self.denied = [entry.partition(":")[::2] for entry in denied]

    def check_access(self, user_id: str, mcp_server: str, tenant_id: str = "",
                     roles: list[str] | None = None, groups: list[str] | None = None) -> Decision:
        """Says whether a user may use a server."""
        for user, server in self.denied:
            if user in (user_id, "*") and server in (mcp_server, "*"):
                return Decision(allowed=False, reason=f"{user_id} may not use {mcp_server}")
        return Decision(allowed=True)


class Audit:
    """Events as lines of JSON, each on the disk before it is acknowledged."""

    def __init__(self, file: Path) -> None:
        self.lock = threading.Lock()
        self.lines = file.open("a")

    def log_event(self, event_type: str, timestamp: str = "", tenant_id: str = "", user_id: str = "",
                  mcp_server: str = "", tool: str = "", result: str = "",
                  metadata: dict[str, Any] | None = None) -> str:
        """Records an event."""
        event = {name: value for name, value in locals().items() if name != "self" and value}
        with self.lock:
            self.lines.write(json.dumps(event) + "\n")
            self.lines.flush()
        return "logged"


class Telemetry:
    """Totals in memory, by name and attributes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.totals: dict[str, float] = {}

    def add(self, kind: str, name: str, value: float, attributes: dict[str, str] | None) -> str:
        labels = ",".join(f"{key}={value}" for key, value in sorted((attributes or {}).items()))
        key = f"{kind} {name}{{{labels}}}"
        with self.lock:
            self.totals[key] = value if kind == "gauge" else self.totals.get(key, 0) + value
        return "recorded"

    def record_counter(self, name: str, value: int, attributes: dict[str, str] | None = None) -> str:
        """Adds to a counter."""
        return self.add("counter", name, value, attributes)

    def record_histogram(self, name: str, value: float, attributes: dict[str, str] | None = None) -> str:
        """Records one observation; the total is their sum."""
        return self.add("histogram", name, value, attributes)

    def record_gauge(self, name: str, value: int, attributes: dict[str, str] | None = None) -> str:
        """Sets a gauge."""
        return self.add("gauge", name, value, attributes)

    async def show(self, _request: Request) -> Response:
        with self.lock:
            return JSONResponse(dict(self.totals))


async def say(context: Any, call_next: Callable[[Any], Any]) -> Any:
    """Says what is asked, before it is done."""
    tool = context.params.get("name", "") if isinstance(context.params, dict) else ""
    print(f"asked {context.method} {tool}".rstrip(), flush=True)
    return await call_next(context)


def said(app: Any) -> Any:
    """Says when a session is ended, which is no request of the protocol but one of HTTP."""
    async def heard(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "DELETE":
            print("asked DELETE", flush=True)
        await app(scope, receive, send)
    return heard


def build(given: argparse.Namespace) -> MCPServer:
    server = MCPServer("weir-plugin-python", version="1.0.0", log_level="WARNING", middleware=[say])

    def offer(method: Callable[..., Any], name: str | None = None) -> None:
        server.tool(name=name, structured_output=False if given.text else None)(method)

    roles = set(given.role)
    store = Store(given.data) if roles & {"credential_storage", "auth_proxy"} else None
    if "auth_provider" in roles:
        offer(Keys(given.keys).validate_credential)
    if "credential_storage" in roles and store:
        for method in (store.store_credential, store.retrieve_credential, store.delete_credential,
                       store.list_credentials):
            offer(method)
    if "auth_proxy" in roles and store:
        offer(store.inject_credentials)
    if "policy_evaluator" in roles:
        offer(Policy(given.deny).check_access)
    if "audit_sink" in roles:
        offer(Audit(given.events).log_event)
    if "telemetry" in roles:
        telemetry = Telemetry()
        offer(telemetry.record_counter, "record-counter")
        offer(telemetry.record_histogram, "record-histogram")
        offer(telemetry.record_gauge, "record-gauge")
        server.custom_route("/totals", methods=["GET"])(telemetry.show)
    return server


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--role", action="append", required=True, choices=(
        "auth_provider", "credential_storage", "auth_proxy", "policy_evaluator", "audit_sink", "telemetry"))
    arguments.add_argument("--port", type=int, default=0, help="default: a free one")
    arguments.add_argument("--keys", type=Path, default=Path("keys.json"))
    arguments.add_argument("--data", type=Path, default=Path("credentials.db"))
    arguments.add_argument("--deny", action="append", default=[], metavar="USER:SERVER")
    arguments.add_argument("--events", type=Path, default=Path("events.jsonl"))
    arguments.add_argument("--text", action="store_true", help="answer in texts alone, as older SDKs do")
    arguments.add_argument("--cert", type=Path)
    arguments.add_argument("--key", type=Path)
    given = arguments.parse_args()

    app = said(build(given).streamable_http_app())
    # Named TCP, or asyncio does not switch off Nagle's algorithm, and every answer waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", given.port))
    listener.listen(256)
    scheme = "https" if given.cert else "http"
    print(f"plugin ready {scheme}://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(app, log_level="warning", ssl_certfile=given.cert, ssl_keyfile=given.key)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
