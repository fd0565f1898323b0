import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import type { Caller } from '../../../src/api/caller.ts';
import type { ServiceParts } from '../../../src/api/parts.ts';
import { createService } from '../../../src/api/service.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { startService } from '../../support/service.ts';

test.each([
  ['/v2/metrics?since=2026-01-01T00:00:00Z&step=86400', null],
  ['/v2/config/replay', 'the file'],
])(
  'requests for %s run one at a time, and are dropped if the client disconnects or loses its permission',
  async (path, text) => {
    const { sidekey } = await startService();
    const body = text === null ? null : JSON.stringify({ text: await readFile(sidekey.configFile, 'utf8') });
    const reading: (() => void)[] = [];
    const config = () =>
      new Promise((resolve) => {
        reading.push(() => resolve(sidekey.proxy.config()));
      });
    let closed = 0;
    const server = createServer((request, response) => {
      response.once('close', () => (closed += 1));
      void service.handle(request, response);
    });
    server.listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const parts = { ...sidekey.proxy.state, config, url: () => url, now: Date.now };
    const caller = {
      user: null,
      role: 'auditor',
      scopes: new Set(['audit:read', 'config:write']),
    } as unknown as Caller;
    let came = 0;
    let isAllowed = true;
    const service = createService(parts as unknown as ServiceParts, async () => {
      came += 1;
      if (isAllowed) return caller;
      throw new SidekeyError('api_auth_required');
    });
    const post =
      body === null ? {} : { method: 'POST', body, headers: { 'content-type': 'application/json' } };
    const ask = (signal: AbortSignal | null = null) => fetch(`${url}${path}`, { ...post, signal });
    const first = ask();
    await expect.poll(() => reading.length).toBe(1);
    const gone = new AbortController();
    // The right of the first one was asked again at its turn.
    expect(came).toBe(2);
    const second = ask(gone.signal).catch(() => null);
    await expect.poll(() => came).toBe(3);
    const third = ask();
    await expect.poll(() => came).toBe(4);
    const fourth = ask();
    await expect.poll(() => came).toBe(5);
    gone.abort();
    await second;
    await expect.poll(() => closed).toBe(1);
    expect(reading).toHaveLength(1);
    reading[0]!();
    expect((await first).status).toBe(200);
    await expect.poll(() => reading.length).toBe(2);
    isAllowed = false;
    reading[1]!();
    expect((await third).status).toBe(200);
    expect((await fourth).status).toBe(401);
    expect(reading).toHaveLength(2);
  },
);
