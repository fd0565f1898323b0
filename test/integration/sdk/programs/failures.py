"""Prints how each client fails, as lines of JSON. The service at SIDEKEY_API_URL answers by the last part of the path."""

import asyncio
import inspect
import json
import sys

import httpx

from sidekey import AsyncSidekey, Sidekey, SidekeyError
from sidekey.operations import UNSET


async def settled(value):
    return await value if inspect.isawaitable(value) else value


async def failure(call):
    try:
        await settled(call())
    except SidekeyError as error:
        return [type(error).__name__, error.code, error.status]


async def sentence(call):
    try:
        await settled(call())
    except SidekeyError as error:
        return str(error)


async def every_code(sidekey, codes):
    url = "https://upstream.test/code/"
    return [await failure(lambda: sidekey.request("POST", url + code)) for code in codes]


async def bodies(sidekey, asynchronous):
    def chunks():
        yield b"chunk"

    async def chunks_later():
        yield b"chunk"

    url = "https://upstream.test/once/"
    return {
        "bytes": (await settled(sidekey.request("POST", url + "bytes", content=b"bytes"))).status_code,
        "iterable": await failure(lambda: sidekey.request("POST", url + "iterable", content=chunks_later() if asynchronous else chunks())),
        "timeout": await failure(lambda: sidekey.request("GET", "https://upstream.test/never", timeout=0.2)),
        "foreign": await failure(lambda: sidekey.request("POST", "https://upstream.test/foreign")),
        "page": await failure(sidekey.get_status),
        "cut": await failure(lambda: sidekey.request("POST", "https://upstream.test/cut")),
        "sentence": await sentence(lambda: sidekey.request("POST", "https://upstream.test/cut")),
    }


async def cut_stream(sidekey):
    """Returns the events before the connection is lost, and the failure."""
    seen = []
    try:
        found = sidekey.stream_audit_events(lines=2)
        if hasattr(found, "__aiter__"):
            async for event in found:
                seen.append(event["event"])
        else:
            for event in found:
                seen.append(event["event"])
    except SidekeyError as error:
        return [seen, type(error).__name__, str(error)]


async def nameless(sidekey):
    """Returns the failures of path parameters that name nothing."""
    return [await failure(lambda: sidekey.get_grant(grant=value)) for value in (UNSET, None, "", ".", "..", 7)]


async def private(sidekey):
    first = await settled(sidekey.request("GET", "https://upstream.test/cookie"))
    await settled(sidekey.request("GET", "upstream.test/cookie"))
    return first.cookies["session"]


class OwnError(SidekeyError):
    pass


async def main():
    codes = json.loads(sys.argv[1])
    async with AsyncSidekey() as later:
        with Sidekey() as sidekey:
            for client in (sidekey, later):
                print(json.dumps(await every_code(client, codes)))
                print(json.dumps(await bodies(client, client is later)))
                print(json.dumps(await cut_stream(client)))
                print(json.dumps(await nameless(client)))
                print(json.dumps(await private(client)))
    print(json.dumps(type(OwnError("own", code="not_found")).__name__))
    with Sidekey(timeout=0.2) as sidekey:
        print(json.dumps([event["event"] for event in sidekey.stream_audit_events()]))
        print(json.dumps(await failure(sidekey.get_me)))
    try:
        httpx.Client(transport=sidekey.transport(grunt="desk"))
    except TypeError as error:
        print(json.dumps("'grunt'" in str(error)))


asyncio.run(main())
