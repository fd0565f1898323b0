"""Sends each kind of body with each client. The upstream answers with what it received."""

import asyncio
import inspect
import io
import json
import os

import httpx
import requests

from sidekey import AsyncSidekey, Sidekey

BYTES = bytes(range(256)) * 300
UPSTREAM = os.environ["UPSTREAM"]


async def settled(value):
    return await value if inspect.isawaitable(value) else value


def chunks():
    yield b"one,"
    yield BYTES
    yield b"two"


async def chunks_later():
    for chunk in chunks():
        yield chunk


def kinds(iterable):
    return {
        "none": {},
        "empty": {"content": b""},
        "text": {"content": "é", "headers": {"content-type": "text/plain"}},
        "bytes": {"content": BYTES},
        "json": {"json": [1]},
        "form": {"data": {"a": "1", "b": ["2", "&"]}},
        "files": {"data": {"a": "1"}, "files": {"file": ("a.bin", io.BytesIO(BYTES), "image/png")}},
        "iterable": {"content": iterable()},
        "params": {"params": {"q": ["1", "&"]}},
        "fields": {"headers": [("x-own", "1"), ("x-own", "2"), (b"x-bytes", "é".encode())]},
    }


async def send(name, request, iterable=chunks):
    for kind, options in kinds(iterable).items():
        response = await settled(request("PUT", f"{UPSTREAM}/echo/{name}/{kind}", **options))
        assert response.status_code == 200, response.text


def send_with_requests(session):
    for kind, options in kinds(chunks).items():
        if "content" in options:
            options["data"] = options.pop("content")
        if kind == "text":
            options["data"] = "é"
        if kind == "fields":
            options["headers"] = {"x-own": "1, 2", "x-bytes": "é".encode()}
        response = session.put(f"{UPSTREAM}/echo/requests/{kind}", **options)
        assert response.status_code == 200, response.text


async def main():
    with Sidekey() as sidekey:
        await send("sync", lambda *args, **options: sidekey.request(*args, grant="desk", **options))
        with httpx.Client(transport=sidekey.transport(grant="desk")) as client:
            await send("transport", client.request)
        with requests.Session() as session:
            session.mount("https://", sidekey.requests_adapter(grant="desk"))
            send_with_requests(session)
        response = sidekey.request("PUT", f"{UPSTREAM}/echo/former", grant_id="desk")
        assert response.extensions["sidekey"]["grant"]["name"] == "desk"
    async with AsyncSidekey() as sidekey:
        await send("async", lambda *args, **options: sidekey.request(*args, grant="desk", **options), chunks_later)
        async with httpx.AsyncClient(transport=sidekey.transport(grant="desk")) as client:
            await send("transport-async", client.request, chunks_later)


asyncio.run(main())
