"""A weir plugin with Flask: every role, each done in a small and honest way.

The gateway starts it (`type: subprocess`) and reads the port from its first line, or somebody else does (`type: sidecar`)
with `--port`. It answers `POST /call` with `{"result": ...}` or `{"error": ...}`, and `GET /health`.

| role               | what it does here                                                                |
|--------------------|----------------------------------------------------------------------------------|
| telemetry          | adds up counters, counts and sums histograms, keeps the last value of gauges      |
| auth_provider      | knows the keys in PLUGIN_KEYS: `KEY=USER:ROLE+ROLE`, separated by commas          |
| policy_evaluator   | allows what PLUGIN_ALLOW lists: `ROLE@SERVER`, separated by commas                |
| credential_storage | keeps credentials in memory                                                       |
| auth_proxy         | sends the stored `bearer` credential of the user to the server                    |
| audit_sink         | keeps the last 1000 events                                                        |
| mcp_provisioner    | hands out the endpoint that a server definition names                             |

Two methods of its own show what it has: `totals` and `events`.
"""

import argparse
import collections
import hmac
import os
import sys
import threading

from flask import Flask, jsonify, request
from werkzeug.serving import make_server

VERSION = "1.0.0"

app = Flask(__name__)
lock = threading.Lock()

counters = collections.Counter()
histograms = {}
gauges = {}
events = collections.deque(maxlen=1000)
credentials = {}
provisioned = {}


class Refused(Exception):
    """What the plugin will not do. The text goes to the gateway."""


# === telemetry ===


def series(params):
    attributes = params.get("attributes") or {}
    labels = ",".join(f"{key}={attributes[key]}" for key in sorted(attributes))
    return f"{params['name']}{{{labels}}}"


def record_counter(params):
    counters[series(params)] += params["value"]
    return "ok"


def record_histogram(params):
    seen = histograms.setdefault(series(params), {"count": 0, "sum": 0.0})
    seen["count"] += 1
    seen["sum"] += params["value"]
    return "ok"


def record_gauge(params):
    gauges[series(params)] = params["value"]
    return "ok"


def totals(_params):
    return {"counters": dict(counters), "histograms": histograms, "gauges": gauges}


# === who, and whether ===


def listed(variable):
    return [entry for entry in os.environ.get(variable, "").split(",") if entry]


def validate_credential(params):
    for entry in listed("PLUGIN_KEYS"):
        key, _, user = entry.partition("=")
        if hmac.compare_digest(key.encode(), params["value"].encode()):
            user, _, roles = user.partition(":")
            return {"user_id": user, "roles": [role for role in roles.split("+") if role]}
    raise Refused("unknown credential")


def check_access(params):
    server = params["mcp_server"]
    for role in params.get("roles") or []:
        if f"{role}@{server}" in listed("PLUGIN_ALLOW"):
            return {"allowed": True, "reason": f"{role} may use {server}"}
    return {"allowed": False, "reason": f"no role of {params['user_id']} may use {server}"}


# === credentials ===


def place(params):
    return (params["user_id"], params["mcp_server"], params["credential_type"])


def store_credential(params):
    credentials[place(params)] = params["value"]
    return "ok"


def retrieve_credential(params):
    if place(params) not in credentials:
        raise Refused("no such credential")
    return {"value": credentials[place(params)]}


def delete_credential(params):
    credentials.pop(place(params), None)
    return "ok"


def list_credentials(params):
    return [
        {"server": server, "cred_type": kind}
        for user, server, kind in credentials
        if user == params["user_id"]
    ]


def inject_credentials(params):
    headers = dict(params.get("headers") or {})
    token = credentials.get((params["user_id"], params["mcp_server"], "bearer"))
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return {"headers": headers, "body": params.get("body")}


# === audit ===


def log_event(params):
    events.append(params)
    return "ok"


def kept_events(_params):
    return list(events)


# === servers ===


def provision(params):
    server, user = params["server"], params["user_id"]
    if not server.get("endpoint"):
        raise Refused("this plugin starts nothing: the definition has to name an endpoint")
    number = f"{server['name']}-{user}"
    provisioned[number] = {
        "id": number,
        "name": server["name"],
        "endpoint": server["endpoint"],
        "status": "running",
        "user_id": user,
    }
    return provisioned[number]


def deprovision(params):
    if provisioned.pop(params["server_id"], None) is None:
        raise Refused("no such server")
    return "ok"


def list_servers(params):
    return [server for server in provisioned.values() if server["user_id"] == params["user_id"]]


METHODS = {
    "record-counter": record_counter,
    "record-histogram": record_histogram,
    "record-gauge": record_gauge,
    "totals": totals,
    "validate-credential": validate_credential,
    "check-access": check_access,
    "store-credential": store_credential,
    "retrieve-credential": retrieve_credential,
    "delete-credential": delete_credential,
    "list-credentials": list_credentials,
    "inject-credentials": inject_credentials,
    "log-event": log_event,
    "events": kept_events,
    "provision": provision,
    "deprovision": deprovision,
    "list": list_servers,
}


@app.before_request
def known_caller():
    """With PLUGIN_TOKEN set, only who sends it may ask."""
    token = os.environ.get("PLUGIN_TOKEN")
    shown = request.headers.get("X-Plugin-Token", "")
    if token and not hmac.compare_digest(token.encode(), shown.encode()):
        return jsonify(error="X-Plugin-Token is missing or wrong"), 401
    return None


@app.get("/health")
def health():
    return jsonify(status="ok", version=VERSION)


@app.post("/call")
def call():
    asked = request.get_json()
    method = METHODS.get(asked["method"])
    if method is None:
        return jsonify(error=f"unknown method: {asked['method']}")
    try:
        with lock:
            return jsonify(result=method(asked["params"]))
    except Refused as refused:
        return jsonify(error=str(refused))
    except KeyError as missing:
        return jsonify(error=f"missing parameter: {missing}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, default=0)
    server = make_server("127.0.0.1", arguments.parse_args().port, app, threaded=True)
    # The socket listens already: who reads this may connect.
    print(f"PORT={server.server_port}", flush=True)
    print(f"flask plugin {VERSION} is ready", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
