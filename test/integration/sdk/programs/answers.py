"""Reads answers with each client, and prints what it got as a line of JSON for each."""

import asyncio
import inspect
import json
import os
import resource

import httpx
import requests
from urllib3 import Timeout

from sidekey import AsyncSidekey, Sidekey
from sidekey.requests import SidekeyAdapter

UPSTREAM = os.environ["UPSTREAM"]


async def settled(value):
    return await value if inspect.isawaitable(value) else value


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


async def facts(get, head):
    told = {}
    for kind in ("gzip", "missing", "redirect", "cookies", "empty"):
        response = await settled(get(f"{UPSTREAM}/{kind}"))
        told[kind] = [response.status_code, response.text, response.headers.get("location"), dict(response.cookies)]
    response = await settled(head(f"{UPSTREAM}/gzip"))
    told["head"] = [response.status_code, response.text]
    return told


async def events(lines, release):
    """Returns the events. The upstream sends the second one when it gets the request of `release`."""
    found = []
    async for line in lines:
        # Lines of httpx 0.23 have their end, and those of requests are bytes.
        line = (line if isinstance(line, str) else line.decode()).strip()
        if line:
            found.append(line)
            if len(found) == 1:
                await settled(release())
    return found


async def later(values):
    for value in values:
        yield value


async def size_of(chunks):
    return sum([len(chunk) async for chunk in chunks])


class Limits(httpx.BaseTransport):
    """Answers each request with the timeouts that the adapter gave it."""

    def handle_request(self, request):
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(request.extensions["timeout"]).encode()))


def limits(timeout):
    with requests.Session() as session:
        session.mount("https://", SidekeyAdapter(Limits()))
        told = session.get("https://upstream.test/", timeout=timeout).json()
        return [told[part] and round(told[part]) for part in ("connect", "read")]


TIMEOUTS = [None, 3, 3.0, (1, 2.0), (None, 2), (1, None)]
TIMEOUTS += [Timeout(connect=1, read=2), Timeout(total=3), Timeout(read=2), Timeout(total=3, connect=4, read=2)]


async def main():
    big, slow, release = (f"{UPSTREAM}/{name}" for name in (f"big/{os.environ['BIG']}", "events", "release"))
    options = {"grant": "desk"}
    with Sidekey() as sidekey:
        told = await facts(lambda url: sidekey.request("GET", url, **options), lambda url: sidekey.request("HEAD", url, **options))
        let_go = lambda: sidekey.request("POST", release, **options)
        before = peak()
        with sidekey.stream("GET", slow, **options) as response:
            told["events"] = await events(later(response.iter_lines()), let_go)
            told["exchange"] = sorted(response.extensions["sidekey"])
        with sidekey.stream("GET", big, **options) as response:
            told["big"] = [await size_of(later(response.iter_bytes())), peak() - before < 32]
        print(json.dumps(told), flush=True)

        with requests.Session() as session:
            session.mount("https://", sidekey.requests_adapter(**options))
            told = await facts(lambda url: session.get(url, allow_redirects=False), session.head)
            with session.get(slow, stream=True) as response:
                told["events"] = await events(later(response.iter_lines()), let_go)
            with session.get(big, stream=True) as response:
                told["big"] = [await size_of(later(response.iter_content(65_536))), peak() - before < 32]
            with session.get(f"{UPSTREAM}/gzip", stream=True) as response:
                told["raw"] = response.raw.read(decode_content=True).decode()
            try:
                session.get(f"{UPSTREAM}/never", timeout=0.2)
            except requests.ReadTimeout:
                told["timeout"] = [limits(timeout) for timeout in TIMEOUTS]
            try:
                session.get(f"{UPSTREAM}/cut")
            except requests.exceptions.ChunkedEncodingError:
                told["cut"] = True
        print(json.dumps(told), flush=True)

    async with AsyncSidekey() as sidekey:
        told = await facts(lambda url: sidekey.request("GET", url, **options), lambda url: sidekey.request("HEAD", url, **options))
        let_go = lambda: sidekey.request("POST", release, **options)
        async with sidekey.stream("GET", slow, **options) as response:
            told["events"] = await events(response.aiter_lines(), let_go)
        async with sidekey.stream("GET", big, **options) as response:
            told["big"] = [await size_of(response.aiter_bytes()), peak() - before < 32]
        print(json.dumps(told), flush=True)


asyncio.run(main())
