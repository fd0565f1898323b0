/**
 * A proxy that is killed (SIGKILL) at random moments while it refreshes tokens of a second whose refresh
 * tokens work once. A refresh token is lost where the provider has rotated it and the successor is not on
 * disk.
 *
 * `SIDEKEY_KILLS=220 SIDEKEY_KILLS_REPORT=1 vitest run refresh-kills` measures; docs/token-refresh.md has the
 * figures.
 */
import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { openView } from '../../../src/app/state.ts';
import { home } from '../../support/command-line.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { startTokenServer } from '../../support/token-server.ts';
import { upstreamCa, upstreamHost } from '../../support/upstream.ts';

const kills = Number(process.env['SIDEKEY_KILLS'] ?? 6);
/** From the rotation at the provider to its answer. */
const answerMs = Number(process.env['SIDEKEY_KILLS_ANSWER_MS'] ?? 100);
/** `answered`: each kill comes within 5 ms after an answer was sent; else at any moment. */
const moment = process.env['SIDEKEY_KILLS_AT'] ?? 'random';
const names = ['g0', 'g1', 'g2', 'g3'];
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test(
  'a proxy that is killed at a random moment loses no refresh token whose access token was used',
  async () => {
    const answeredAt = new Map<string, number>();
    let onAnswered: (() => void) | null = null;
    const server = await startTokenServer({
      expiresIn: 1,
      onRotated: async ({ family }) => {
        answeredAt.delete(family);
        await wait(answerMs);
      },
      onAnswered: ({ family }) => {
        answeredAt.set(family, performance.now());
        onAnswered?.();
      },
    });
    const at = await home({
      upstream: {
        ca: ['upstream-ca.pem'],
        resolve: { [upstreamHost]: '127.0.0.1' },
        private_addresses: ['127.0.0.1/32'],
      },
      domains: { [server.authority]: { grant: 'acme' } },
      providers: {
        acme: {
          token_endpoint: `${server.url}/token/p0`,
          client_id: 'sidekey',
          audience: [server.authority],
        },
      },
    });
    await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);

    async function consent(name: string, more: readonly string[] = []): Promise<void> {
      const { accessToken, refreshToken } = server.consent(name);
      const credential = { access_token: accessToken, refresh_token: refreshToken, expires_at: Date.now() };
      await at.grant(name, credential, ['--provider', 'acme', ...more]);
    }

    async function onDisk(): Promise<ReadonlyMap<string, string | null>> {
      const view = await openView(await loadConfig(at.configFile, { env: {} }), { now: Date.now });
      try {
        const registry = await view.registry();
        const opened = await Promise.all(
          (await view.store!.grants.find({})).map(async ({ id }) => (await registry?.read(id)) ?? null),
        );
        return new Map(
          opened.flatMap((each) => {
            const credential = each?.sealed.credential;
            return each !== null && credential?.type === 'oauth2'
              ? [[each.grant.name, credential.refreshToken] as const]
              : [];
          }),
        );
      } finally {
        await view.close();
      }
    }

    for (const name of names) await consent(name);
    const lostWithout: string[] = [];
    const lostAfterMs: number[] = [];
    const used = new Set<string>();
    const firstUse = Promise.withResolvers<void>();
    const lostThoughUsed: string[] = [];
    let rounds = 0;
    for (; rounds < kills; rounds += 1) {
      const proxy = await at.start();
      const life = new AbortController();
      const load = names.map(async (name) => {
        while (!life.signal.aborted) {
          const answer = await proxiedGet(proxy.url, `${server.url}/items`, { 'sidekey-grant': name });
          // The API says which token of the grant it was given.
          if ('status' in answer && answer.status === 200) {
            used.add(answer.body);
            firstUse.resolve();
          }
          await wait(25);
        }
      });
      // The first proxy lives until a token was used, however slow the machine is.
      await firstUse.promise;
      await wait(200 + Math.random() * 1_000);
      if (moment === 'answered') {
        await new Promise<void>((resolve) => (onAnswered = resolve));
        onAnswered = null;
        const until = performance.now() + Math.random() * 5;
        await new Promise<void>(function turn(resolve: () => void) {
          if (performance.now() >= until) resolve();
          else setImmediate(turn, resolve);
        });
      }
      const killedAt = performance.now();
      const gone = proxy.kill();
      const answered = new Map(answeredAt);
      const issued = new Map(names.map((name) => [name, server.family(name).current]));
      await gone;
      life.abort();
      await Promise.all(load);
      const stored = await onDisk();
      for (const name of names) {
        // A request that reached the provider after the kill was sent before it.
        const { current } = server.family(name);
        if (stored.get(name) === current) continue;
        if (used.has(current.replace(/^refresh\./, ''))) lostThoughUsed.push(current);
        const isSame = issued.get(name) === current;
        const sentAt = isSame ? answered.get(name) : undefined;
        if (sentAt === undefined) lostWithout.push(name);
        else lostAfterMs.push(Math.round((killedAt - sentAt) * 10) / 10);
        await consent(name, ['--replace']);
      }
    }
    if (process.env['SIDEKEY_KILLS_REPORT'] !== undefined) {
      console.log(
        JSON.stringify({
          kills: rounds,
          grants: names.length,
          answerMs,
          moment,
          lostWithoutAnswer: lostWithout.length,
          lostWithAnswer: lostAfterMs.length,
          lostAfterMs: lostAfterMs.toSorted((a, b) => a - b),
          refreshes: server.requests.length,
        }),
      );
    }
    expect(lostThoughUsed).toEqual([]);
  },
  30_000 + kills * 10_000,
);
