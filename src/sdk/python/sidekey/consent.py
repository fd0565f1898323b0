"""The person's part of a connect session, for a program without its own page."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Callable, Mapping, NamedTuple

from .operations import DeviceSession
from .transport import SidekeyError


class Connected(NamedTuple):
    grant_id: str
    provider: str
    user: str


def outcome(session: Mapping[str, Any]) -> Connected | None:
    """Returns None while the session waits for the person."""
    error: Any = session.get("error")
    if session["status"] == "pending":
        return None
    if session["status"] == "connected":
        return Connected(session["grant_id"], session["provider"], session["user"])
    if session["status"] == "failed":
        raise SidekeyError(error["detail"], code=error["code"], hint="connect again")
    detail = "Nobody connected an account in time." if error is None else error["detail"]
    raise SidekeyError(detail, code="session_expired", hint="connect again, and answer within 15 minutes")


# Codes of failures after which an address may do: the provider has no device flow, or none for this client.
NO_DEVICE_FLOW = ("config_invalid", "provider_refused")


def is_by_address(device: bool | None, on_url: Callable[[str], None]) -> bool:
    """Returns whether the person opens an address, and types no code."""
    return on_url is not show_url or _has_browser() if device is None else not device


def _has_browser() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def show_code(session: DeviceSession) -> None:
    """Prints a code."""
    complete = session["verification_uri_complete"]
    direct = "" if complete is None else f"\nOr open this address, and see that it shows the same code:\n{complete}"
    where = f"open {session['verification_uri']} on any device, and type the code {session['user_code']}"
    print(f"To connect the account, {where}{direct}", file=sys.stderr)


def show_url(url: str) -> None:
    """Prints an address, and opens a browser if there is one.

    Other users of the machine can read the arguments of a program, so the browser gets an address that leads to the
    real one, once.
    """
    print(f"To connect the account, open this address. It works once:\n{url}", file=sys.stderr)
    if not _has_browser():
        return

    class Lead(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(303)
            self.send_header("location", url)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Lead)

    def serve() -> None:
        with server:
            server.handle_request()

    threading.Thread(target=serve, daemon=True).start()
    webbrowser.open(f"http://127.0.0.1:{server.server_port}/")
