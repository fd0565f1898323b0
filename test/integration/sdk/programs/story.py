"""One story, told by both clients; prints what each saw as a line of JSON."""

import asyncio
import inspect
import json
import os
import sys

from sidekey import AsyncSidekey, Sidekey, SidekeyError


async def settled(value):
    return await value if inspect.isawaitable(value) else value


async def entries(found):
    if hasattr(found, "__aiter__"):
        return [entry async for entry in found]
    return list(found)


async def first(found, matches):
    if hasattr(found, "__aiter__"):
        async for entry in found:
            if matches(entry):
                await found.aclose()
                return entry
    for entry in found:
        if matches(entry):
            found.close()
            return entry


async def failure(call):
    try:
        await settled(call())
    except SidekeyError as error:
        return [error.code, error.status, error.hint is not None, "sk_" in f"{error!r}{error}"]


async def story(sidekey, name):
    url = os.environ["UPSTREAM"]
    told = {"me": (await settled(sidekey.get_me()))["role"]}
    for each in "abc":
        await settled(sidekey.create_agent(name=f"{name}-{each}", grants=["desk"] if each == "a" else []) if each == "a" else sidekey.create_agent(name=f"{name}-{each}"))
    told["agents"] = [agent["name"] for agent in await entries(sidekey.list_agents(limit=1)) if agent["name"].startswith(f"{name}-")]
    await settled(sidekey.remove_agent(agent=f"{name}-b"))
    told["missing"] = await failure(lambda: sidekey.get_agent(agent=f"{name}-b"))
    posted = await settled(sidekey.request("POST", url, grant="desk", reason="ticket 7", headers={"X-Own": "1"}, json={"a": 1}))
    told["posted"] = [posted.status_code, posted.json()]
    told["bytes"] = list((await settled(sidekey.request("GET", f"{url}bytes"))).content)
    told["gzip"] = (await settled(sidekey.request("GET", f"{url}gzip"))).text
    told["unnamed"] = await failure(lambda: sidekey.request("GET", url, grant=""))
    told["named"] = await failure(lambda: sidekey.request("GET", os.environ["TUNNELLED"], grant="desk"))
    told["refused"] = await failure(lambda: sidekey.request("GET", "https://other.example.com/"))
    env = await settled(sidekey.proxy_env(proxy=os.environ["PROXY"], agent=f"{name}-a", grants=["desk"], base={"KEPT": "1"}))
    told["env"] = [env["KEPT"], env["HTTPS_PROXY"].startswith("http://")]
    event = await first(sidekey.stream_audit_events(lines=100), lambda line: line.get("reason") == "ticket 7")
    told["event"] = event["event"]
    told["repr"] = "sk_" in repr(sidekey) + repr(vars(sidekey))
    print(json.dumps(told), flush=True)


async def connect(sidekey):
    connected = await settled(sidekey.connect("acme", "alice", on_url=lambda url: print(url, flush=True)))
    print(json.dumps(connected._asdict()), flush=True)


async def device(sidekey):
    for asked in (None, True):
        connected = await settled(sidekey.connect("desk", "alice", device=asked, on_code=lambda codes: print(codes["user_code"], flush=True)))
        print(json.dumps(connected._asdict()), flush=True)


async def main():
    part = {"connect": connect, "device": device}.get(sys.argv[1])
    with Sidekey() as sidekey:
        await (part(sidekey) if part else story(sidekey, "sync"))
    async with AsyncSidekey() as sidekey:
        await (part(sidekey) if part else story(sidekey, "async"))


asyncio.run(main())
