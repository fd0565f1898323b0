"""Uses the SDKs of OpenAI and Anthropic with a grant, and prints what each got as a line of JSON."""

import asyncio
import inspect
import json
import os

import anthropic
import google.auth.credentials
import google.auth.transport.requests
import openai
from openai import _base_client as base

from sidekey import AsyncSidekey, Sidekey

# httpx, or its successor in newer versions of these SDKs.
httpx = getattr(base, "httpx2", None) or base.httpx
UPSTREAM = os.environ["UPSTREAM"]
ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


async def settled(value):
    return await value if inspect.isawaitable(value) else value


async def entries(found):
    if hasattr(found, "__aiter__"):
        async for entry in found:
            yield entry
    else:
        for entry in found:
            yield entry


async def use(OpenAI, Anthropic, client, release):
    told = {}
    model = OpenAI(api_key="sidekey", base_url=f"{UPSTREAM}/v1", http_client=client)
    answer = await settled(model.chat.completions.create(**ASK))
    told["chat"] = answer.choices[0].message.content
    words = []
    async for chunk in entries(await settled(model.chat.completions.create(stream=True, **ASK))):
        words.append(chunk.choices[0].delta.content)
        if len(words) == 1:
            await settled(release())
    told["words"] = words
    told["file"] = (await settled(model.files.create(file=("a.txt", b"some\0bytes"), purpose="batch"))).id
    refused = OpenAI(api_key="sidekey", base_url="https://other.example.com/v1", http_client=client)
    try:
        await settled(refused.models.list())
    except openai.PermissionDeniedError as error:
        told["refused"] = error.response.json()["code"]

    claude = Anthropic(api_key="sidekey", base_url=UPSTREAM, http_client=client)
    words = []
    async for event in entries(await settled(claude.messages.create(max_tokens=9, stream=True, **ASK))):
        if event.type == "content_block_delta":
            words.append(event.delta.text)
            if len(words) == 1:
                await settled(release())
    told["claude"] = words
    print(json.dumps(told), flush=True)


async def main():
    release = f"{UPSTREAM}/release"
    with Sidekey() as sidekey:
        client = httpx.Client(transport=sidekey.transport(grant="desk"))
        await use(openai.OpenAI, anthropic.Anthropic, client, lambda: sidekey.request("POST", release, grant="desk"))
        with google.auth.transport.requests.AuthorizedSession(google.auth.credentials.AnonymousCredentials()) as session:
            session.mount(UPSTREAM, sidekey.requests_adapter(grant="desk"))
            print(json.dumps(session.post(f"{UPSTREAM}/v1/chat/completions", json={}).json()["model"]), flush=True)
    async with AsyncSidekey() as sidekey:
        client = httpx.AsyncClient(transport=sidekey.transport(grant="desk"))
        await use(openai.AsyncOpenAI, anthropic.AsyncAnthropic, client, lambda: sidekey.request("POST", release, grant="desk"))


asyncio.run(main())
