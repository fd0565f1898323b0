"""Adapter of requests that sends each request through Sidekey: ``session.mount(url, sidekey.requests_adapter())``."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generator

import httpx
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse
from urllib3._collections import HTTPHeaderDict
from urllib3.exceptions import ProtocolError
from urllib3.util import Timeout

if TYPE_CHECKING:
    from .client import RelayTransport


class _Body(io.RawIOBase):
    """The chunks of a response as a file."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._chunks = response.iter_raw()
        self._rest = b""

    def readinto(self, buffer: Any) -> int:
        try:
            while not self._rest:
                self._rest = next(self._chunks)
        except StopIteration:
            return 0
        except httpx.TransportError as error:
            raise ProtocolError(str(error)) from error
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def read1(self, size: int = -1) -> bytes | None:
        return self.read(size)

    def close(self) -> None:
        self._response.close()
        super().close()


class _Raw(HTTPResponse):
    def stream(self, amt: int | None = 65_536, decode_content: bool | None = None) -> Generator[bytes, None, None]:
        # `read` of urllib3 2 waits until it has all `amt` bytes, and so holds back the events of a stream.
        read = getattr(self, "read1", self.read)
        while chunk := read(amt, decode_content=decode_content):
            yield chunk


def _limits(timeout: Any) -> dict[str, float | None]:
    """Returns a timeout of requests: seconds, a tuple (connect, read), an object of urllib3, or None."""
    if not isinstance(timeout, Timeout):
        connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        timeout = Timeout(connect=connect, read=read)
    # The read timeout of an object with a total is known only after the start.
    begun = timeout.clone()
    begun.start_connect()
    parts = {"connect": begun.connect_timeout, "read": begun.read_timeout}
    return {name: None if part is Timeout.DEFAULT_TIMEOUT else part for name, part in parts.items()}


class SidekeyAdapter(HTTPAdapter):
    """See ``Sidekey.requests_adapter``."""

    def __init__(self, transport: RelayTransport) -> None:
        super().__init__()
        self._transport = transport

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        body: Any = request.body
        fields = httpx.Headers(dict(request.headers))
        if isinstance(body, str):
            # The length depends on the encoding, and httpx writes it.
            fields.pop("content-length", None)
        sent = httpx.Request(
            str(request.method),
            str(request.url),
            headers=fields,
            content=body,
            extensions={"timeout": _limits(options.get("timeout"))},
        )
        try:
            answer = self._transport.handle_request(sent)
        except httpx.TimeoutException as error:
            raise requests.ReadTimeout(error, request=request) from error
        except httpx.TransportError as error:
            raise requests.ConnectionError(error, request=request) from error
        headers = HTTPHeaderDict()
        for name, value in answer.headers.multi_items():
            headers.add(name, value)
        # requests reads the cookies there.
        original: Any = SimpleNamespace(msg=headers, isclosed=lambda: True, close=lambda: None)
        raw = _Raw(
            body=_Body(answer),
            headers=headers,
            status=answer.status_code,
            reason=answer.reason_phrase,
            preload_content=False,
            decode_content=False,
            request_method=request.method,
            original_response=original,
        )
        return self.build_response(request, raw)
