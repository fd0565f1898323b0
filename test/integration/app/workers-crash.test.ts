/** Workers of the real program that die, are stopped or are left alone: what is lost, and what is not. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { pollDelay, startTwoWorkers, type TwoWorkers } from '../../support/two-workers.ts';

/** A team whose upstream holds what is asked for under `/held`. */
async function holding(): Promise<
  TwoWorkers & { readonly holdOnEach: () => Promise<readonly Held[]>; readonly release: () => void }
> {
  const held: ServerResponse[] = [];
  const team = await startTwoWorkers({
    listener: (request, response) => {
      if (request.url !== '/held') response.end('ok');
      else {
        response.write('first ');
        held.push(response);
      }
    },
  });
  return {
    ...team,
    async holdOnEach() {
      const clients = await team.spread();
      for (const { client } of clients) {
        client.send(`GET /held HTTP/1.1\r\nHost: ${team.upstream.authority}\r\n\r\n`);
        await client.until('first ');
      }
      return clients.map(({ client, node }) => ({
        node,
        outcome: client.response().then(
          ({ body }) => body,
          () => 'lost',
        ),
      }));
    },
    release: () => held.forEach((response) => response.end('last')),
  };
}

interface Held {
  readonly node: string;
  /** The body of the answer, or that there was none. */
  readonly outcome: Promise<string>;
}

const isGone = (pid: number) => {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
};

describe('with several workers', { timeout: 120_000 }, () => {
  test('a killed worker loses only the exchanges that it served, and is replaced', async () => {
    const { at, url, upstream, pids, serving, holdOnEach, release, lines, configure, stop } = await holding();
    const all = await holdOnEach();
    const [killed = 0, other = 0] = pids();
    // An error in the file since then does not prevent a replacement: the config in force counts.
    await writeFile(at.configFile, 'version: 2\n');
    process.kill(killed, 'SIGKILL');
    while (!isGone(killed)) await pollDelay();
    const replaced = serving((now) => now.length === 2 && !now.includes(killed));
    let isReplaced = false;
    void replaced.then(() => (isReplaced = true));
    const wasReplaced = () => isReplaced;
    for (let answered = 0; !wasReplaced() || answered < 20; answered += 1) {
      expect(await proxiedGet(url, `${upstream.url}/now`)).toEqual({ status: 200, body: 'ok' });
    }
    expect(await replaced).toContain(other);
    release();
    const outcomes = await Promise.all(all.map(async ({ node, outcome }) => [node, await outcome] as const));
    const ends = Map.groupBy(outcomes, ([node]) => node);
    const byNode = [...ends.values()].map((found) => [...new Set(found.map(([, body]) => body))].join());
    expect(new Set(byNode)).toEqual(new Set(['first last', 'lost']));

    await configure({});
    expect(await proxiedGet(url, `${upstream.url}/now`)).toEqual({ status: 200, body: 'ok' });
    expect(await stop()).toMatchObject({ exit: 0, stderr: expect.stringContaining('a worker has crashed') });
    expect((await lines()).filter(({ event }) => event === 'worker.crashed')).toMatchObject([
      { reason: expect.stringMatching(new RegExp(`^worker ${killed} ended after \\d+ s: SIGKILL$`)) },
    ]);
    expect(await at.run(['audit', 'verify'])).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('writers'),
    });
  });

  test('the log says why a replacement of a killed worker could not start', async () => {
    const { at, pids, lines, stop } = await holding();
    const store = new DatabaseSync(at.at('data', 'sidekey.db'));
    store.exec("insert into kysely_migration values ('9999-later', '2026-01-01')");
    store.close();
    process.kill(pids()[0]!, 'SIGKILL');
    const ends = async () => (await lines()).filter(({ event }) => event === 'worker.crashed').length;
    while ((await ends()) < 2) await pollDelay();
    expect((await stop()).stderr).toMatch(/"problem":"[^"]*written by a newer version/);
  });

  test.each([
    ['before it is told to serve', 'setTimeout(end, 100);'],
    ['when it is told to serve', "process.once('message', end);"],
  ])('a worker that is killed %s is replaced', async (_when, ending) => {
    const at = await home({ version: 1, workers: 2, proxy: { listen: '127.0.0.1:0' } });
    const killer = at.at('killer.mjs');
    // The worker that makes the folder ends itself.
    await writeFile(
      killer,
      `import { mkdirSync } from 'node:fs';
      const end = () => process.kill(process.pid, 'SIGKILL');
      const isFirst = () => {
        try {
          mkdirSync(${JSON.stringify(at.at('one'))});
          return true;
        } catch {
          return false;
        }
      };
      if (process.argv.includes('--worker') && isFirst()) {
        ${ending}
        await new Promise(() => {});
      }`,
    );
    const { url, stop } = await at.start({ env: { NODE_OPTIONS: `--import=${pathToFileURL(killer).href}` } });
    const runFile = at.at('data', `sidekey-workers-${new URL(url).port}.json`);
    const workers = async () =>
      (JSON.parse(await readFile(runFile, 'utf8')) as { workers: number[] }).workers;
    await expect.poll(workers, { timeout: 30_000 }).toHaveLength(2);
    expect(await stop()).toMatchObject({ exit: 0, stderr: expect.stringContaining('a worker has crashed') });
    const log = await readFile(at.at('data', 'audit.jsonl'), 'utf8');
    expect(log).toMatch(/worker \d+ ended before it served: SIGKILL/);
  });

  test('a terminated worker finishes its exchanges, while another worker replaces it', async () => {
    const { pids, serving, holdOnEach, release, lines, stop } = await holding();
    const all = await holdOnEach();
    const [told = 0] = pids();
    process.kill(told, 'SIGTERM');
    await serving((now) => now.length === 2 && !now.includes(told));
    release();
    for (const { outcome } of all) expect(await outcome).toBe('first last');
    expect(await stop()).toMatchObject({ exit: 0, stderr: '' });
    expect((await lines()).some(({ event }) => event === 'worker.crashed')).toBe(false);
  });

  test('all workers finish their exchanges when the program stops', async () => {
    const { url, upstream, port, pids, holdOnEach, release, lines, stop } = await holding();
    const all = await holdOnEach();
    const ids = pids();
    const stopped = stop();
    // Waiting connections are reset. After that nothing listens.
    const refused = `connect ECONNREFUSED 127.0.0.1:${port}`;
    for (let lost = ''; lost !== refused;) {
      const answer = await proxiedGet(url, `${upstream.url}/now`);
      lost = 'lost' in answer ? answer.lost : '';
      await pollDelay();
    }
    release();
    for (const { outcome } of all) expect(await outcome).toBe('first last');
    expect(await stopped).toMatchObject({ exit: 0, stderr: '' });
    expect(ids.every(isGone)).toBe(true);
    expect((await lines()).at(-1)).toMatchObject({ event: 'proxy.stopped' });
  });

  test('workers finish their exchanges and exit after their supervisor is killed', async () => {
    const { pids, holdOnEach, release, kill, at } = await holding();
    const all = await holdOnEach();
    const ids = pids();
    // Resolves when nobody has its standard output any more: they have it too.
    const gone = kill();
    release();
    for (const { outcome } of all) expect(await outcome).toBe('first last');
    await gone;
    for (const pid of ids) while (!isGone(pid)) await pollDelay();
    expect(await at.run(['audit', 'verify'])).toMatchObject({ exit: 0 });
  });

  test('the program exits with a reason when no worker can start', async () => {
    const { at, pids, ended } = await startTwoWorkers();
    await rename(at.at('data', 'master.key'), at.at('data', 'elsewhere.key'));
    for (const pid of pids()) process.kill(pid, 'SIGKILL');
    const { exit, stderr } = await ended;
    expect(exit).not.toBe(0);
    expect(stderr).toContain('"code":"key_invalid"');
    expect(stderr.match(/a worker has crashed/g)?.length).toBeLessThan(10);
    expect(pids).toThrow('ENOENT');
  });

  test('a request without any live worker waits for the replacements', async () => {
    const { url, upstream, pids } = await startTwoWorkers();
    const before = pids();
    for (const pid of before) process.kill(pid, 'SIGKILL');
    while (!before.every(isGone)) await pollDelay();
    expect(await proxiedGet(url, `${upstream.url}/now`)).toEqual({ status: 200, body: 'ok' });
  });

  test('a request during the restart delay of all workers is refused at once', async () => {
    const { url, upstream, pids, serving, open } = await startTwoWorkers();
    // The first two ends have new ones started at once and soon.
    for (let round = 0; round < 2; round += 1) {
      for (const pid of await serving((now) => now.length === 2)) process.kill(pid, 'SIGKILL');
      await serving((now) => now.length === 0);
    }
    const answer = await proxiedGet(url, `${upstream.url}/now`);
    expect(pids()).toEqual([]);
    expect(answer).toMatchObject({ status: 503, body: expect.stringContaining('"code":"overloaded"') });
    await expect(open()).rejects.toThrow('503 overloaded');
    await serving((now) => now.length > 0);
    expect(await proxiedGet(url, `${upstream.url}/now`)).toEqual({ status: 200, body: 'ok' });
  });
});
