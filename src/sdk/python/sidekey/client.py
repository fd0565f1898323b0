"""The clients: one that waits, and one for asyncio. Both have the same methods."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
import webbrowser
from contextlib import asynccontextmanager, closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Iterator, Mapping, NamedTuple

import httpx

from .operations import UNSET, AsyncOperations, DeviceSession, Operations
from .relay import AsyncRelayTransport, Place, RelayTransport, RequestOptions, absolute, split
from .transport import (
    API_METHODS,
    SidekeyError,
    connection_of,
    content_of,
    failure_of,
    no_answer,
    request_of,
    wait_before_retry,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .requests import SidekeyAdapter

LOOK_EVERY = 1.0


class Connected(NamedTuple):
    grant_id: str
    provider: str
    user: str


def _environment(found: Mapping[str, Any], base: Mapping[str, str] | None) -> dict[str, str]:
    kept = {name: value for name, value in (os.environ if base is None else base).items() if name not in found["remove"]}
    return {**kept, **found["set"]}


def _outcome(session: Mapping[str, Any]) -> Connected | None:
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


def _is_by_address(device: bool | None, on_url: Callable[[str], None]) -> bool:
    """Tells whether the person opens an address, and types no code."""
    return on_url is not _show or _has_browser() if device is None else not device


def _has_browser() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _show_code(session: DeviceSession) -> None:
    """Prints a code."""
    complete = session["verification_uri_complete"]
    direct = "" if complete is None else f"\nOr open this address, and see that it shows the same code:\n{complete}"
    where = f"open {session['verification_uri']} on any device, and type the code {session['user_code']}"
    print(f"To connect the account, {where}{direct}", file=sys.stderr)


def _show(url: str) -> None:
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


class Sidekey(Operations):
    """Client of the API. Defaults: ``SIDEKEY_API_URL`` or http://127.0.0.1:8378, and ``SIDEKEY_API_KEY``."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float | httpx.Timeout | None = 30.0,
        allow_plain_http: bool = False,
    ) -> None:
        self._http = httpx.Client(**connection_of(base_url, api_key, timeout, allow_plain_http))

    def __enter__(self) -> Sidekey:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Sends a request with the credential of a grant, through the checks of the proxy.

        ``params``, ``headers``, ``content``, ``data``, ``files``, ``json`` and ``timeout`` are those of httpx.
        """
        return self._relayed(method, url, options, stream=False)

    def stream(self, method: str, url: str, **options: Unpack[RequestOptions]) -> closing[httpx.Response]:
        """Sends a request as ``request`` does. The caller reads the body as it arrives."""
        return closing(self._relayed(method, url, options, stream=True))

    def transport(self, **place: Unpack[Place]) -> RelayTransport:
        """Returns a transport for a client of httpx, whose requests use the grant."""
        return RelayTransport(self._http, **place)

    def requests_adapter(self, **place: Unpack[Place]) -> SidekeyAdapter:
        """Returns an adapter for a session of requests, whose requests use the grant."""
        from .requests import SidekeyAdapter

        return SidekeyAdapter(self.transport(**place))

    def connect(
        self,
        provider: str,
        user: str,
        *,
        scopes: list[str] = UNSET,
        name: str = UNSET,
        device: bool | None = None,
        on_url: Callable[[str], None] = _show,
        on_code: Callable[[DeviceSession], None] = _show_code,
    ) -> Connected:
        """Lets a person connect an account, and waits until it is done.

        ``device``: true: the person types a code on another device; false: opens an address; None: types a code where
        this machine has no browser, ``on_url`` is absent, and the provider has a device flow.
        """
        wanted: dict[str, Any] = {"provider": provider, "user": user, "scopes": scopes, "name": name}
        begun: Any = None
        if not _is_by_address(device, on_url):
            try:
                begun = self.create_device_session(**wanted)
            except SidekeyError as error:
                if device or error.code not in NO_DEVICE_FLOW:
                    raise
        if begun is not None:
            on_code(begun)
        else:
            begun = self.create_connect_session(**wanted)
            on_url(begun["connect_url"])
        while (connected := _outcome(self.get_connect_session(id=begun["id"]))) is None:
            time.sleep(LOOK_EVERY)
        return connected

    def proxy_env(
        self,
        *,
        proxy: str = UNSET,
        agent: str = UNSET,
        grants: list[str] = UNSET,
        ttl: str = UNSET,
        base: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Returns the environment of a program that uses the proxy: ``subprocess.run(…, env=sidekey.proxy_env())``."""
        return _environment(self.get_environment(proxy=proxy, agent=agent, grants=grants, ttl=ttl), base)

    def _call(self, operation: str, given: dict[str, Any]) -> Any:
        response = self._sent(self._http, request_of(self._http, operation, given), API_METHODS)
        return content_of(response)

    def _pages(self, operation: str, given: dict[str, Any]) -> Iterator[Any]:
        cursor = UNSET
        while cursor is not None:
            page = self._call(operation, {**given, "cursor": cursor})
            yield from page["data"]
            cursor = page["next_cursor"]

    def _stream(self, operation: str, given: dict[str, Any]) -> Iterator[Any]:
        request = request_of(self._http, operation, given)
        # The next event may take any time.
        request.extensions["timeout"]["read"] = None
        with closing(self._sent(self._http, request, (), stream=True)) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])

    def _relayed(self, method: str, url: str, options: Mapping[str, Any], *, stream: bool) -> httpx.Response:
        place, http = split(options)
        # A client for each request keeps the cookies of users apart. It reads no password from a netrc file.
        client = httpx.Client(transport=self.transport(**place), timeout=self._http.timeout, trust_env=False)
        request = client.build_request(method, absolute(url), **http)
        return self._sent(client, request, ("GET", "HEAD"), stream=stream)

    def _sent(
        self, http: httpx.Client, request: httpx.Request, repeatable: tuple[str, ...], *, stream: bool = False
    ) -> httpx.Response:
        """Returns the answer. ``repeatable``: methods that may be sent again if the answer was lost."""
        retries = 0
        while True:
            try:
                response = http.send(request, stream=stream)
                # A failure of the upstream is an answer.
                if response.is_success or "sidekey" in response.extensions:
                    return response
                response.read()
                failure = failure_of(response)
            except httpx.TransportError as error:
                failure = no_answer(self._http.base_url, error)
                failure.__cause__ = error
            wait = wait_before_retry(request, failure, retries, repeatable)
            if wait is None:
                raise failure
            time.sleep(wait)
            retries += 1


class AsyncSidekey(AsyncOperations):
    """Client of the API for asyncio, with the methods of ``Sidekey``."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float | httpx.Timeout | None = 30.0,
        allow_plain_http: bool = False,
    ) -> None:
        self._http = httpx.AsyncClient(**connection_of(base_url, api_key, timeout, allow_plain_http))

    async def __aenter__(self) -> AsyncSidekey:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Sends a request with the credential of a grant: see ``Sidekey.request``."""
        return await self._relayed(method, url, options, stream=False)

    @asynccontextmanager
    async def stream(self, method: str, url: str, **options: Unpack[RequestOptions]) -> AsyncIterator[httpx.Response]:
        """Sends a request as ``request`` does. The caller reads the body as it arrives."""
        response = await self._relayed(method, url, options, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    def transport(self, **place: Unpack[Place]) -> AsyncRelayTransport:
        """Returns a transport for a client of httpx, whose requests use the grant."""
        return AsyncRelayTransport(self._http, **place)

    async def connect(
        self,
        provider: str,
        user: str,
        *,
        scopes: list[str] = UNSET,
        name: str = UNSET,
        device: bool | None = None,
        on_url: Callable[[str], None] = _show,
        on_code: Callable[[DeviceSession], None] = _show_code,
    ) -> Connected:
        """Lets a person connect an account, and waits until it is done: see ``Sidekey.connect``."""
        wanted: dict[str, Any] = {"provider": provider, "user": user, "scopes": scopes, "name": name}
        begun: Any = None
        if not _is_by_address(device, on_url):
            try:
                begun = await self.create_device_session(**wanted)
            except SidekeyError as error:
                if device or error.code not in NO_DEVICE_FLOW:
                    raise
        if begun is not None:
            on_code(begun)
        else:
            begun = await self.create_connect_session(**wanted)
            on_url(begun["connect_url"])
        while (connected := _outcome(await self.get_connect_session(id=begun["id"]))) is None:
            await asyncio.sleep(LOOK_EVERY)
        return connected

    async def proxy_env(
        self,
        *,
        proxy: str = UNSET,
        agent: str = UNSET,
        grants: list[str] = UNSET,
        ttl: str = UNSET,
        base: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """Returns the environment of a program that uses the proxy."""
        return _environment(await self.get_environment(proxy=proxy, agent=agent, grants=grants, ttl=ttl), base)

    async def _call(self, operation: str, given: dict[str, Any]) -> Any:
        response = await self._sent(self._http, request_of(self._http, operation, given), API_METHODS)
        return content_of(response)

    async def _pages(self, operation: str, given: dict[str, Any]) -> AsyncIterator[Any]:
        cursor = UNSET
        while cursor is not None:
            page = await self._call(operation, {**given, "cursor": cursor})
            for entry in page["data"]:
                yield entry
            cursor = page["next_cursor"]

    async def _stream(self, operation: str, given: dict[str, Any]) -> AsyncIterator[Any]:
        request = request_of(self._http, operation, given)
        # The next event may take any time.
        request.extensions["timeout"]["read"] = None
        response = await self._sent(self._http, request, (), stream=True)
        try:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])
        finally:
            await response.aclose()

    async def _relayed(self, method: str, url: str, options: Mapping[str, Any], *, stream: bool) -> httpx.Response:
        place, http = split(options)
        # A client for each request keeps the cookies of users apart. It reads no password from a netrc file.
        client = httpx.AsyncClient(transport=self.transport(**place), timeout=self._http.timeout, trust_env=False)
        request = client.build_request(method, absolute(url), **http)
        return await self._sent(client, request, ("GET", "HEAD"), stream=stream)

    async def _sent(
        self, http: httpx.AsyncClient, request: httpx.Request, repeatable: tuple[str, ...], *, stream: bool = False
    ) -> httpx.Response:
        """Returns the answer. ``repeatable``: methods that may be sent again if the answer was lost."""
        retries = 0
        while True:
            try:
                response = await http.send(request, stream=stream)
                # A failure of the upstream is an answer.
                if response.is_success or "sidekey" in response.extensions:
                    return response
                await response.aread()
                failure = failure_of(response)
            except httpx.TransportError as error:
                failure = no_answer(self._http.base_url, error)
                failure.__cause__ = error
            wait = wait_before_retry(request, failure, retries, repeatable)
            if wait is None:
                raise failure
            await asyncio.sleep(wait)
            retries += 1
