import asyncio, sys, aiohttp

async def main():
    # aiohttp looks at the environment only when it is told to.
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.get(sys.argv[1]) as response:
            print(await response.text())

asyncio.run(main())
