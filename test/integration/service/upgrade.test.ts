/** An upgrade under load: a new process takes over from an old one, and nobody notices. */
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { expect, onTestFinished, test } from 'vitest';
import { ProxyAgent, request } from 'undici';
import { manager } from '../../support/service-manager.ts';
import { apiKey } from '../../support/sidekey.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

test.each([1, 2])(
  'three upgrades under load lose no exchange, with %i workers',
  { timeout: 120_000 },
  async (workers) => {
    let count = 0;
    const upstream = await startUpstream((_request, response) => {
      count += 1;
      // Some take longer than others.
      setTimeout(() => response.end('ok'), count % 10 === 0 ? 300 : count % 7);
    });
    const { at, port, start } = await manager({
      workers,
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
      providers: { acme: { audience: [upstream.authority] } },
      domains: { [upstream.authority]: { grant: 'acme' } },
    });
    await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
    await at.grant('acme', { ...apiKey });
    let running = await start();
    const ca = await readFile(at.at('certs', 'ca.crt'), 'utf8');
    const failures: string[] = [];
    const load = { sent: 0, isOver: false };
    const open = () =>
      new ProxyAgent({ uri: `http://127.0.0.1:${port}`, requestTls: { ca }, connections: 1 });

    /** A client that sends request after request, and never repeats one by itself. */
    async function send(keepsAlive: boolean): Promise<void> {
      let agent = open();
      while (!load.isOver) {
        load.sent += 1;
        try {
          const { statusCode, body } = await request(`${upstream.url}/a`, {
            method: 'POST',
            body: 'x',
            dispatcher: agent,
          });
          const text = await body.text();
          if (statusCode !== 200 || text !== 'ok') failures.push(`${statusCode} ${text}`);
        } catch (error) {
          failures.push(String(error instanceof Error ? (error.cause ?? error) : error));
        }
        if (keepsAlive) continue;
        await agent.close();
        agent = open();
      }
      await agent.close();
    }

    const clients = Array.from({ length: 12 }, (_, index) => send(index % 3 > 0));
    onTestFinished(() => void (load.isOver = true));
    for (let upgrade = 0; upgrade < 3; upgrade += 1) {
      const enough = load.sent + 200;
      const next = await start();
      expect(next.child.exitCode).toBeNull();
      running.child.kill('SIGTERM');
      await once(running.child, 'close');
      running = next;
      while (load.sent < enough) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    load.isOver = true;
    await Promise.all(clients);
    running.child.kill('SIGTERM');
    expect(failures).toEqual([]);
    expect(count).toBe(load.sent);
  },
);
