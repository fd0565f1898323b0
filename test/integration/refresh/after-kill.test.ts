/**
 * Two real proxies on one store: one is killed or stopped in the middle of a refresh, the other is asked for
 * the token.
 */
import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { loadConfig } from '../../../src/config/load.ts';
import { openView } from '../../../src/app/state.ts';
import { home, startProgram } from '../../support/command-line.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { requestBody } from '../../support/request-body.ts';
import { startUpstream, upstreamCa, upstreamHost } from '../../support/upstream.ts';

/** A provider whose refresh token stays the same, and that answers the proxy `first` when it is let go. */
async function twoProxies() {
  const asked = Promise.withResolvers<void>();
  const letGo = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<void>();
  const server = await startUpstream((request, response) => {
    const asker = /^\/token\/(\w+)$/.exec(request.url ?? '')?.[1];
    if (asker === undefined) {
      response.end(request.headers.authorization);
      return;
    }
    void requestBody(request).then(async () => {
      if (asker === 'first') {
        asked.resolve();
        await letGo.promise;
      }
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ access_token: `access-of-${asker}`, expires_in: 3_600 }), () =>
        answered.resolve(),
      );
    });
  });
  const configOf = (asker: string) => ({
    version: 1,
    workers: 1,
    proxy: { listen: '127.0.0.1:0' },
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: { [server.authority]: { grant: 'acme' } },
    providers: {
      acme: {
        token_endpoint: `${server.url}/token/${asker}`,
        client_id: 'sidekey',
        audience: [server.authority],
      },
    },
  });
  const at = await home(configOf('nobody'));
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  await at.grant('acme', { access_token: 'a', refresh_token: 'r', expires_at: Date.now() - 1_000 });
  const start = async (asker: string) => {
    const file = at.at('config', `${asker}.yaml`);
    await writeFile(file, stringify(configOf(asker)), { mode: 0o600 });
    return startProgram(['start', '--json', '--config', file], at.folder);
  };
  const [first, second] = [await start('first'), await start('second')];
  const lost = proxiedGet(first.url, `${server.url}/items`);
  await asked.promise;
  return {
    first,
    letGo: letGo.resolve,
    answered: answered.promise,
    lost,
    timed: async () => {
      const begun = performance.now();
      const answer = await proxiedGet(second.url, `${server.url}/items`);
      return { answer, ms: performance.now() - begun };
    },
    stored: async () => {
      const view = await openView(await loadConfig(at.configFile, { env: {} }), { now: Date.now });
      try {
        const [grant] = await view.store!.grants.find({});
        const credential = (await (await view.registry())?.read(grant?.id ?? ''))?.sealed.credential;
        return credential?.type === 'oauth2' ? credential.accessToken : null;
      } finally {
        await view.close();
      }
    },
  };
}

test('a caller does not wait for the lock of a process that was killed during a refresh', async () => {
  const { first, timed } = await twoProxies();
  await first.kill();
  const { answer, ms } = await timed();
  report({ afterKillMs: Math.round(ms) });
  expect(answer).toEqual({ status: 200, body: 'Bearer access-of-second' });
  expect(ms).toBeLessThan(1_500);
});

test('a caller waits about 2 s for a stopped process, which later does not replace a newer token', async () => {
  const { first, timed, letGo, answered, lost, stored } = await twoProxies();
  process.kill(first.pid, 'SIGSTOP');
  const { answer, ms } = await timed();
  letGo();
  await answered;
  process.kill(first.pid, 'SIGCONT');
  report({ afterStopMs: Math.round(ms) });
  expect(answer).toEqual({ status: 200, body: 'Bearer access-of-second' });
  expect(ms).toBeLessThan(4_000);
  expect(await lost).toEqual({ status: 200, body: 'Bearer access-of-second' });
  expect(await stored()).toBe('access-of-second');
});

function report(figures: object): void {
  if (process.env['SIDEKEY_KILLS_REPORT'] !== undefined) console.log(JSON.stringify(figures));
}
