/** Files of `src` that one request runs code of: the reading list of whoever wants to follow it. */
import { createHook } from 'node:async_hooks';
import type { Profiler } from 'node:inspector';
import { Session } from 'node:inspector/promises';
import { expect, test } from 'vitest';
import { granted } from '../../support/granted.ts';
import { openTunnel } from '../../support/raw-client.ts';

/** The goal is 45. */
const maxFiles = 60;
/** The exchange, the written line, and the wait of the first for the second. */
const maxPromises = 3;

test(`a kept-alive GET through an intercepted tunnel runs code of at most ${maxFiles} files`, async () => {
  const get = await warm();
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });
  const ran: ReadonlySet<string>[] = [];
  for (let i = 0; i < 3; i += 1) {
    await session.post('Profiler.takePreciseCoverage');
    await get();
    const { result } = await session.post('Profiler.takePreciseCoverage');
    ran.push(new Set(filesThatRan(result)));
  }
  session.disconnect();
  // Files that ran in only one of the requests, such as timers, do not count.
  const files = Array.from(ran[0]!)
    .filter((file) => ran.every((others) => others.has(file)))
    .toSorted();
  if (process.env['SIDEKEY_TEST_PATH'] !== undefined) console.log(files.join('\n'));
  expect(files.length, files.join('\n')).toBeLessThanOrEqual(maxFiles);
});

test('a GET on a kept-alive connection waits only for its audit line if all that it needs is in memory', async () => {
  const get = await warm();
  let made: string[] = [];
  const hook = createHook({
    init(_id, type) {
      const { stack = '' } = new Error();
      const [, place] = /\/src\/(.+\.ts)/.exec(stack) ?? [];
      if (type === 'PROMISE' && place !== undefined) made.push(place);
    },
  });
  const ran: string[][] = [];
  hook.enable();
  for (let i = 0; i < 10; i += 1) {
    made = [];
    await get();
    ran.push(made);
  }
  hook.disable();
  // Timers that fire during a GET make more.
  const [fewest = []] = ran.toSorted((one, other) => one.length - other.length);
  expect(fewest.length, fewest.join('\n')).toBeLessThanOrEqual(maxPromises);
});

/** Starts a proxy, and returns a function that sends a GET on a connection that has carried some. */
async function warm(): Promise<() => Promise<void>> {
  const { upstream, sidekey } = await granted((_request, response) => response.end('ok'));
  const client = await openTunnel(sidekey, upstream.authority);
  const get = async () => {
    client.send(`GET /v1/items HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect((await client.response()).status).toBe(200);
  };
  for (let i = 0; i < 20; i += 1) await get();
  // By then the notes of the warm-up requests are written, and the config file is compared by its times
  // (`tickMs`).
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  return get;
}

function filesThatRan(result: readonly Profiler.ScriptCoverage[]): string[] {
  return result
    .filter(({ functions }) =>
      functions.some(
        ({ functionName, ranges }) => functionName !== '' && ranges.some(({ count }) => count > 0),
      ),
    )
    .flatMap(({ url }) => /\/src\/(.+\.ts)$/.exec(url)?.[1] ?? []);
}
