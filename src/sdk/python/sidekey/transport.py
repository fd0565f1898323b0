"""HTTP of the clients: a request, its retries, and its failures."""

from __future__ import annotations

import ipaddress
import json
import os
import random
import re
import uuid
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import httpx

from .operations import OPERATIONS, UNSET

MAX_RETRIES = 3
FIRST_WAIT = 0.25
#: A longer ``Retry-After`` is left to the caller.
MAX_WAIT = 30


class SidekeyError(Exception):
    """A failure, with the way out. Each code has a class in ``sidekey.errors``.

    ``code`` is stable: docs/errors.md lists those of the service; ``unreachable``: the service did not answer.
    ``status`` is that of the answer (0: there was none). ``retry_after`` is in seconds.
    """

    _classes: ClassVar[dict[str, type[SidekeyError]]] = {}

    def __init_subclass__(cls, code: str = "") -> None:
        SidekeyError._classes.setdefault(code, cls)

    def __new__(cls, message: str, *, code: str, **_: Any) -> SidekeyError:
        return super().__new__(SidekeyError._classes.get(code, cls) if cls is SidekeyError else cls, message)

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int = 0,
        hint: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.hint = hint
        self.retry_after = retry_after

    def __str__(self) -> str:
        sentence = super().__str__()
        return sentence if self.hint is None else f"{sentence} ({self.hint})"


#: Methods of the API that may be sent again if the answer was lost.
API_METHODS = ("GET", "POST")


def request_of(http: httpx.Client | httpx.AsyncClient, operation: str, given: dict[str, Any]) -> httpx.Request:
    """Returns the request of an operation. Members that the path and the query do not have are the body."""
    method, template, query = OPERATIONS[operation]
    rest = {name: value for name, value in given.items() if value is not UNSET}
    path = re.sub(r"\{(\w+)\}", lambda match: _segment(operation, match[1], rest.pop(match[1], None)), template)
    params: list[tuple[str, str | int | float | bool | None]] = []
    for name in [*query, "cursor"]:
        value = rest.pop(name, None)
        for each in value if isinstance(value, list) else [] if value is None else [value]:
            params.append((name, str(each).lower() if isinstance(each, bool) else str(each)))
    body = None if method in ("GET", "DELETE") else rest
    # With a random key, a retry does not do the work twice.
    headers = {"idempotency-key": str(uuid.uuid4())} if method == "POST" else {}
    return http.build_request(method, path, params=params, json=body, headers=headers)


def _segment(operation: str, name: str, value: Any) -> str:
    """Returns a parameter as a segment of a path, where an empty text or dots would be another path."""
    if isinstance(value, str) and value not in ("", ".", ".."):
        return quote(value, safe="")
    sentence = f"{operation}: {name} is {value!r}, which names nothing."
    raise SidekeyError(sentence, code="input_invalid", hint=f"give {name} as a text")


def content_of(response: httpx.Response) -> Any:
    """Returns the content of an answer of the API; None: it has none."""
    try:
        return response.json() if response.content else None
    except ValueError as error:
        sentence = f"The response of {response.url} is not from Sidekey."
        hint = "see that the base URL is that of Sidekey: admin.url"
        raise SidekeyError(sentence, code="unexpected_answer", status=response.status_code, hint=hint) from error


def failure_of(response: httpx.Response) -> SidekeyError:
    """Returns the failure of an answer whose body was read."""
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    after = response.headers.get("retry-after", "")
    return SidekeyError(
        problem.get("detail") or f"The service answered {response.status_code}.",
        code=problem.get("code") or "unexpected_answer",
        status=response.status_code,
        hint=problem.get("hint"),
        retry_after=float(after) if after.isdigit() else None,
    )


def no_answer(url: httpx.URL, cause: Exception, events: int | None = None) -> SidekeyError:
    """Returns the failure of a request without a complete answer. ``events``: received from a stream until then."""
    if isinstance(cause, httpx.TimeoutException):
        hint = "set a longer timeout: a person may have to approve the request"
        return SidekeyError(f"{url} did not answer in time.", code="timeout", hint=hint)
    if "CERTIFICATE_VERIFY_FAILED" in str(cause):
        hint = "set SSL_CERT_FILE to the file of its CA, or correct SIDEKEY_API_URL"
        return SidekeyError(f"The certificate of {url} is not trusted.", code="unreachable", hint=hint)
    if not isinstance(cause, httpx.ConnectError):
        sentence = f"The response of {url} broke off."
        if events is None:
            return SidekeyError(sentence, code="unreachable")
        hint = "stream again; list_audit_events(since=…) has the events of the gap"
        return SidekeyError(f"{sentence} Received events: {events}.", code="unreachable", hint=hint)
    hint = "is it running, with admin.listen? sidekey status"
    return SidekeyError(f"{url} does not answer.", code="unreachable", hint=hint)


def wait_before_retry(
    request: httpx.Request, failure: SidekeyError, retries: int, repeatable: tuple[str, ...]
) -> float | None:
    """Returns the seconds to wait; None: the failure is final."""
    is_worth_it = (
        # It was refused before any work.
        failure.status == 429
        # The first attempt is still under way.
        or (failure.code == "idempotency_conflict" and retries > 0)
        or (request.method in repeatable and (failure.code == "unreachable" or failure.status in (502, 503, 504)))
    )
    # A body of another type can be read only once.
    is_worth_it = is_worth_it and isinstance(request.stream, httpx.ByteStream)
    if not is_worth_it or retries == MAX_RETRIES or (failure.retry_after or 0) > MAX_WAIT:
        return None
    if failure.retry_after is not None:
        return failure.retry_after
    return FIRST_WAIT * float(2**retries) * (1 + random.random())


def connection_of(
    base_url: str | None, api_key: str | None, timeout: float | httpx.Timeout | None, allow_plain_http: bool
) -> dict[str, Any]:
    """Returns the arguments of an httpx client."""
    key = api_key or os.environ.get("SIDEKEY_API_KEY")
    saved = {} if key else _saved_login()
    url = base_url or os.environ.get("SIDEKEY_API_URL") or saved.get("url") or "http://127.0.0.1:8378"
    if saved.get("url") == url.rstrip("/"):
        # The key goes to its own service alone.
        key = saved.get("key")
    if not key:
        hint = "set SIDEKEY_API_KEY to the output of: sidekey api-key create NAME --role operator; or run: sidekey login URL"
        raise SidekeyError("The client has no API key.", code="input_invalid", hint=hint)
    if not re.fullmatch("[!-~]+", key):
        # The error of httpx would contain the key.
        sentence = "The API key contains a space, a line break or another character."
        raise SidekeyError(sentence, code="input_invalid", hint="copy the key alone")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search("[@?#]", url):
        hint = "write the address of admin.url in full, such as http://127.0.0.1:8378"
        sentence = "The base URL is not an http or https URL, or has a user name or a query."
        raise SidekeyError(sentence, code="input_invalid", hint=hint)
    if parts.scheme != "https" and not _is_this_machine(parts.hostname or "") and not allow_plain_http:
        hint = "use https, or set allow_plain_http in a network that you trust"
        raise SidekeyError("The key would go to another machine in the clear.", code="input_invalid", hint=hint)
    # The key goes to this address alone.
    headers = {"authorization": f"Bearer {key}"}
    return {"base_url": url, "headers": headers, "follow_redirects": False, "timeout": timeout}


def _saved_login() -> dict[str, str]:
    """Returns the login of `sidekey login`; empty: there is none."""
    home = os.environ.get("SIDEKEY_HOME")
    base = os.environ.get("APPDATA") if os.name == "nt" else os.environ.get("XDG_CONFIG_HOME")
    folder = os.path.join(home, "config") if home else os.path.join(base or os.path.expanduser("~/.config"), "sidekey")
    # One below the working folder would be that of whoever wrote the files there.
    if not os.path.isabs(folder):
        return {}
    try:
        with open(os.path.join(folder, "login.json"), encoding="utf-8") as file:
            saved: dict[str, str] = json.load(file)
            return saved
    except (OSError, ValueError):
        return {}


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
