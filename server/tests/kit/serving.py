"""Serves an ASGI app on a loopback port and says which, so that a test never guesses a free port."""
from __future__ import annotations

import socket
from typing import Any

import uvicorn


def serve(app: Any, host: str = "127.0.0.1", port: int = 0) -> None:
    """Listens, prints `upstream ready URL` as the first line of standard output, and serves until killed."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(256)
    print(f"upstream ready http://{host}:{listener.getsockname()[1]}/mcp", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
