"""The client for asyncio.

``npm run sdk`` makes the synchronous client in ``client.py`` from it, with the same methods and the lines of ``# sync:``.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Mapping

import httpx

from .consent import NO_DEVICE_FLOW, Connected, is_by_address, outcome, show_code, show_url
from .operations import UNSET, AsyncOperations, DeviceSession
from .relay import Place, Relay, RequestOptions, absolute, split
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


class AsyncRelayTransport(Relay, httpx.AsyncBaseTransport):
    """See ``Sidekey.transport``."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        http = self.client_of(request)
        return self.unwrap(await http.send(self.wrap(http, request), stream=True))

    async def aclose(self) -> None:
        for http in self._others.values():
            await http.aclose()


class AsyncSidekey(AsyncOperations):
    """Client of the API. Defaults: ``SIDEKEY_API_URL`` or http://127.0.0.1:8378, and ``SIDEKEY_API_KEY``."""

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
        """Sends a request with the credential of a grant, through the checks of the proxy.

        ``params``, ``headers``, ``content``, ``data``, ``files``, ``json`` and ``timeout`` are those of httpx.
        """
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

    # sync: def requests_adapter(self, **place: Unpack[Place]) -> SidekeyAdapter:
    # sync:     """Returns an adapter for a session of requests, whose requests use the grant."""
    # sync:     from .requests import SidekeyAdapter
    # sync:     return SidekeyAdapter(self.transport(**place))

    async def connect(
        self,
        provider: str,
        user: str,
        *,
        scopes: list[str] = UNSET,
        name: str = UNSET,
        device: bool | None = None,
        on_url: Callable[[str], None] = show_url,
        on_code: Callable[[DeviceSession], None] = show_code,
    ) -> Connected:
        """Lets a person connect an account, and waits until it is done.

        ``device``: true: the person types a code on another device; false: opens an address; None: types a code where
        this machine has no browser, ``on_url`` is absent, and the provider has a device flow.
        """
        wanted: dict[str, Any] = {"provider": provider, "user": user, "scopes": scopes, "name": name}
        begun: Any = None
        if not is_by_address(device, on_url):
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
        while (connected := outcome(await self.get_connect_session(id=begun["id"]))) is None:
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
        """Returns the environment of a program that uses the proxy: ``subprocess.run(…, env=…)``."""
        found = await self.get_environment(proxy=proxy, agent=agent, grants=grants, ttl=ttl)
        inherited = (os.environ if base is None else base).items()
        return {**{name: value for name, value in inherited if name not in found["remove"]}, **found["set"]}

    async def _call(self, operation: str, given: dict[str, Any]) -> Any:
        return content_of(await self._sent(self._http, request_of(self._http, operation, given), API_METHODS))

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
        events = 0
        try:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])
                    events += 1
        except httpx.TransportError as error:
            raise no_answer(self._http.base_url, error, events) from error
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
