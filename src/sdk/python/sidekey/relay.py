"""Transports of httpx that send each request through Sidekey, with the credential of a grant.

``httpx.Client(transport=sidekey.transport(grant="github"))``. A refusal by Sidekey is a response with its status and
its problem document. A response of the upstream has ``extensions["sidekey"]``, with its ``grant`` and ``exchange``.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Mapping, TypedDict

import httpx

#: Fields of one connection. Sidekey writes those of the connection to the upstream.
_OF_CONNECTION = (b"host", b"connection", b"content-length", b"transfer-encoding")


class Place(TypedDict, total=False):
    """What a request is sent with."""

    grant: str | None
    user: str | None
    agent: str | None
    reason: str | None


class RequestOptions(Place, total=False):
    """Options of a request: what it is sent with, and the arguments of httpx."""

    params: Any
    headers: Any
    content: Any
    data: Any
    files: Any
    json: Any
    timeout: float | httpx.Timeout | None
    #: Former name of ``grant``.
    grant_id: str | None


def split(options: Mapping[str, Any]) -> tuple[Place, dict[str, Any]]:
    """Returns what a request is sent with, and the arguments of httpx."""
    http = dict(options)
    if "grant_id" in http:
        http["grant"] = http.pop("grant_id")
    place: Any = {name: http.pop(name) for name in Place.__annotations__ if name in http}
    return place, http


def absolute(url: str) -> str:
    """Returns a URL with a scheme: https is the default, as everywhere in Sidekey."""
    return url if "://" in str(url) else f"https://{url}"


class Relay:
    """The parts of both transports."""

    def __init__(
        self,
        http: Any,
        *,
        grant: str | None = None,
        user: str | None = None,
        agent: str | None = None,
        reason: str | None = None,
    ) -> None:
        self._http = http
        place = {"grant": grant, "user": user, "agent": agent, "reason": reason or None}
        self._place = {name: value for name, value in place.items() if value is not None}
        #: Clients of other libraries with the interface of httpx (httpx2), which have classes of their own.
        self._others: dict[str, Any] = {}

    def client_of(self, request: httpx.Request) -> Any:
        name = type(request.url).__module__.partition(".")[0]
        library: Any = sys.modules[name]
        if library is httpx:
            return self._http
        if name not in self._others:
            client = getattr(library, type(self._http).__name__)
            headers = {"authorization": self._http.headers["authorization"]}
            self._others[name] = client(base_url=str(self._http.base_url), headers=headers)
        return self._others[name]

    def wrap(self, http: Any, request: httpx.Request) -> httpx.Request:
        fields = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in request.headers.raw
            if name.lower() not in _OF_CONNECTION
        ]
        described = {"method": request.method, "url": str(request.url), "headers": fields, **self._place}
        wrapped: httpx.Request = http.build_request("POST", "/v2/relay", headers={"sidekey-relay": json.dumps(described)})
        for name in ("content-length", "transfer-encoding"):
            wrapped.headers.pop(name, None)
            if name in request.headers:
                wrapped.headers[name] = request.headers[name]
        wrapped.stream, wrapped.extensions = request.stream, request.extensions
        return wrapped

    def unwrap(self, response: httpx.Response) -> httpx.Response:
        head = json.loads(response.headers.get("sidekey-answer", "null"))
        if head is not None:
            fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.pop("headers")]
            status = head.pop("status")
            return type(response)(status, headers=fields, stream=response.stream, extensions={"sidekey": head})
        # A success or a redirect without the field comes from another server, and the caller must not use it.
        status = response.status_code if response.is_error else 502
        return type(response)(status, headers=response.headers, stream=response.stream)
