"""Follows a redirect to another host with each client, with and without a grant, and prints the answers as JSON."""

import asyncio
import inspect
import json
import os
from contextlib import closing

import httpx
import requests

from sidekey import AsyncSidekey, Sidekey


async def answer(client, **options):
    response = client.get(os.environ["UPSTREAM"], headers={"authorization": "Bearer sidekey"}, **options)
    response = await response if inspect.isawaitable(response) else response
    return [response.status_code, response.json()["code"] if response.status_code == 403 else response.text]


async def main():
    told = []
    async with AsyncSidekey() as later:
        with Sidekey() as sidekey:
            for place in ({"grant": "desk"}, {}):
                with httpx.Client(transport=sidekey.transport(**place)) as client:
                    told.append(await answer(client, follow_redirects=True))
                async with httpx.AsyncClient(transport=later.transport(**place)) as client:
                    told.append(await answer(client, follow_redirects=True))
                with closing(requests.Session()) as session:
                    session.mount("https://", sidekey.requests_adapter(**place))
                    told.append(await answer(session))
    print(json.dumps(told))


asyncio.run(main())
