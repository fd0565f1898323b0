/**
 * Real proxies, as programs of their own, on one store, with a provider whose refresh tokens work once:
 * however many requests come at once, one token request is made; and whoever dies in the middle costs nothing
 * but an answer that never reached the disk, which is said.
 *
 * `SIDEKEY_KILL_ROUNDS=50 vitest run refresh-many-processes` goes on for as many rounds, each with another
 * seed.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { openView } from '../../../src/app/state.ts';
import type { AuditLine } from '../../../src/domain/event.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { OpenedGrant } from '../../../src/domain/credential.ts';
import type { Registry } from '../../../src/grants/registry.ts';
import { home, type Home, type Running, startProgram } from '../../support/command-line.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import {
  startTokenServer,
  type TokenEnd,
  type TokenRequest,
  type TokenServer,
} from '../../support/token-server.ts';
import { upstreamCa, upstreamHost } from '../../support/upstream.ts';

const processes = 8;
const requestsEach = 200;

interface Fleet {
  readonly at: Home;
  readonly start: (asker: string) => Promise<Running>;
}

/**
 * A place with a config for each proxy: one store, one key, one audit file, and a token endpoint for each.
 */
async function fleet(server: TokenServer, config: object = {}): Promise<Fleet> {
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
    ...config,
  });
  const at = await home(configOf('nobody'));
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);
  return {
    at,
    async start(asker) {
      const file = at.at('config', `${asker}.yaml`);
      await writeFile(file, stringify(configOf(asker)), { mode: 0o600 });
      return startProgram(['start', '--json', '--config', file], at.folder);
    },
  };
}

async function connect(
  { at }: Fleet,
  server: TokenServer,
  name: string,
  { at: endsAt, ...end }: TokenEnd & { readonly at: number },
  more: readonly string[] = [],
): Promise<void> {
  const { accessToken, refreshToken } = server.consent(name, { at: endsAt, ...end });
  await at.grant(name, { access_token: accessToken, refresh_token: refreshToken, expires_at: endsAt }, [
    '--provider',
    'acme',
    ...more,
  ]);
}

/** Gives the grants of the store to `use`, by name, as they are on disk. */
async function withGrants<T>(
  { at }: Fleet,
  use: (grants: ReadonlyMap<string, OpenedGrant>, registry: Registry) => Promise<T> | T,
): Promise<T> {
  const view = await openView(await loadConfig(at.configFile, { env: {} }), { now: Date.now });
  try {
    const registry = await view.registry();
    if (registry === null) throw new Error('Nothing was stored yet.');
    const opened = await Promise.all((await view.store!.grants.find({})).map(({ id }) => registry.read(id)));
    const found = opened.filter((each) => each !== null);
    return await use(new Map(found.map((each) => [each.grant.name, each])), registry);
  } finally {
    await view.close();
  }
}

const onDisk = (all: Fleet) => withGrants(all, (grants) => grants);

/** From now on every access token counts as ended. */
function endTokens(all: Fleet): Promise<void> {
  return withGrants(all, async (grants, registry) => {
    for (const { grant, sealed } of grants.values()) {
      if (sealed.credential.type !== 'oauth2') continue;
      const credential = { ...sealed.credential, expiresAt: Date.now() - 1_000 };
      await registry.replaceCredential(grant, { ...sealed, credential });
    }
  });
}

function refreshTokenOf(opened: OpenedGrant | undefined): string | null {
  const credential = opened?.sealed.credential;
  return credential?.type === 'oauth2' ? credential.refreshToken : null;
}

async function audited({ at }: Fleet): Promise<readonly AuditLine[]> {
  const lines = (await readFile(at.at('data', 'audit.jsonl'), 'utf8')).split('\n');
  // A process that was killed may have left half a line.
  return lines.flatMap((line) => {
    try {
      return [JSON.parse(line) as AuditLine];
    } catch {
      return [];
    }
  });
}

describe('a token that expires', () => {
  test(`while ${requestsEach} requests arrive at each of ${processes} proxies is refreshed once, and no request fails`, async () => {
    const server = await startTokenServer({ expiresIn: 3_600 });
    // A handshake for each request would be most of the work of this machine.
    const all = await fleet(server, { limits: { upstream_connections: 16 } });
    const first = await all.start('p0');
    const rest = Array.from({ length: processes - 1 }, (_, index) => all.start(`p${index + 1}`));
    const proxies = [first, ...(await Promise.all(rest))];
    // It ends in the middle of the requests, on a fast machine and on a slow one: some still get it, some
    // wait for the next one, some bring it to the API too late, and are sent again.
    await connect(all, server, 'acme', { at: Date.now() + 1_000, uses: 400 });
    const answers = await Promise.all(
      proxies.flatMap((proxy) =>
        Array.from({ length: requestsEach }, () => proxiedGet(proxy.url, `${server.url}/items`)),
      ),
    );
    expect(answers.filter((answer) => !('status' in answer) || answer.status !== 200)).toEqual([]);
    expect(answers).toHaveLength(processes * requestsEach);
    expect(server.requests).toHaveLength(1);
    expect(server.reuses).toEqual([]);
    const grant = (await onDisk(all)).get('acme');
    expect([grant?.grant.state, refreshTokenOf(grant)]).toEqual(['active', server.family('acme').current]);
  }, 60_000);
});

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** The kill of a proxy: at which token request of all, and at which phase of it. */
interface Death {
  readonly atRequest: number;
  readonly phase: 'asked' | 'answered' | 'later';
  readonly delayMs: number;
}

describe('proxies that are killed during a refresh', () => {
  const names = Array.from({ length: 24 }, (_, index) => `g${index}`);
  const askers = ['p0', 'p1', 'p2', 'p3', 'p4'];
  const rounds = Number(process.env['SIDEKEY_KILL_ROUNDS'] ?? 1);

  test(
    'lose no token that was written to disk, use no token twice, and report a lost response',
    async () => {
      let deaths: Death[] = [];
      let random = seeded(0);
      const alive = new Map<string, Running>();
      const dying = new Map<string, Promise<void>>();
      /** At each second use: the refresh token that was on disk then. */
      const onDiskAtReuse: [used: string, stored: string | null][] = [];

      const kill = (asker: string) => {
        const proxy = alive.get(asker);
        if (proxy === undefined || alive.size <= 2) return;
        alive.delete(asker);
        dying.set(asker, proxy.kill());
      };
      const diesAt = (request: TokenRequest, phase: Death['phase']) =>
        deaths.find((death) => death.phase === phase && server.requests[death.atRequest] === request);
      const server = await startTokenServer({
        expiresIn: 3_600,
        async onRequest(request) {
          if (diesAt(request, 'asked') !== undefined) {
            kill(request.asker);
            await dying.get(request.asker);
          }
          await new Promise((resolve) => setTimeout(resolve, random() * 40));
          // Requests of killed processes arrive after other processes have stored the next token.
          if (!dying.has(request.asker) && request.refreshToken !== server.family(request.family).current) {
            onDiskAtReuse.push([
              request.refreshToken,
              refreshTokenOf((await onDisk(all)).get(request.family)),
            ]);
          }
        },
        onAnswered(request) {
          if (diesAt(request, 'answered') !== undefined) kill(request.asker);
          const later = diesAt(request, 'later');
          if (later !== undefined) setTimeout(() => kill(request.asker), later.delayMs);
        },
      });
      // The shorter a token request may take, the sooner the lock of a proxy that died is free.
      const all = await fleet(server, { limits: { refresh_timeout: '3s', refresh_wait: '60s' } });
      for (const name of names) await connect(all, server, name, { at: Date.now() + 3_600_000 });

      for (let round = 1; round <= rounds; round += 1) {
        random = seeded(round);
        const missing = askers.filter((asker) => !alive.has(asker));
        const started = await Promise.all(missing.map((asker) => all.start(asker)));
        missing.forEach((asker, index) => alive.set(asker, started[index]!));
        dying.clear();
        await endTokens(all);
        onDiskAtReuse.length = 0;
        const before = { requests: server.requests.length, reuses: server.reuses.length };
        const linesBefore = (await audited(all)).length;
        deaths = (['asked', 'answered', 'later'] as const).map((phase) => ({
          atRequest: before.requests + Math.floor(random() * 18),
          phase,
          delayMs: random() * 15,
        }));

        const asked = [...alive].flatMap(([asker, proxy]) =>
          shuffled([...names, ...names], random).map(async (name) => ({
            asker,
            name,
            answer: await proxiedGet(proxy.url, `${server.url}/items`, { 'sidekey-grant': name }),
          })),
        );
        const answers = await Promise.all(asked);
        await Promise.all(dying.values());
        deaths = [];

        const killed = new Set(dying.keys());
        const stored = await onDisk(all);
        const news = (await audited(all)).slice(linesBefore);
        const lost: string[] = [];
        for (const name of names) {
          const opened = stored.get(name);
          const family = server.family(name);
          const reports = news.filter(
            ({ event, grant }) => event === 'grant.reauth_required' && grant === opened?.grant.id,
          );
          const askedByTheDead = server.requests
            .slice(before.requests)
            .some((request) => request.family === name && killed.has(request.asker));
          // The request of a dead proxy came last, and nobody has met its consequence yet.
          if (opened?.grant.state === 'active' && family.revoked) {
            lost.push(name);
            expect([name, askedByTheDead]).toEqual([name, true]);
            continue;
          }
          if (opened?.grant.state === 'active') {
            expect([name, refreshTokenOf(opened)]).toEqual([name, family.current]);
            expect(reports).toEqual([]);
            continue;
          }
          // The one loss that is allowed: a proxy asked for tokens and did not live to store them.
          lost.push(name);
          expect([name, opened?.grant.state, askedByTheDead]).toEqual([name, 'reauth_required', true]);
          expect(opened?.grant.stateReason).toMatch(/used before/);
          expect(reports).toMatchObject([{ outcome: 'failed', code: 'reauth_required' }]);
        }
        // A token was used twice only where its successor was not on disk: for each grant that was lost, and
        // once each time but for proxies that did not live to say so.
        const reuses = server.reuses.slice(before.reuses);
        expect([...new Set(reuses.map(({ family }) => family))].toSorted()).toEqual(lost.toSorted());
        // No proxy ever brings one twice, whether it lives or dies.
        expect(new Set(reuses.map(({ family, asker }) => `${family} ${asker}`)).size).toBe(reuses.length);
        for (const name of lost) {
          const byTheLiving = reuses.filter(({ family, asker }) => family === name && !killed.has(asker));
          expect([name, byTheLiving.length <= 1]).toEqual([name, true]);
        }
        expect(onDiskAtReuse.filter(([used, onDiskThen]) => used !== onDiskThen)).toEqual([]);
        expect(server.requests.length - before.requests).toBe(names.length + reuses.length);
        // Nothing failed that was not lost, but what a proxy took with it.
        const failed = answers.filter(
          ({ asker, name, answer }) =>
            !('status' in answer
              ? answer.status === 200 || (answer.status === 424 && lost.includes(name))
              : killed.has(asker)),
        );
        expect(failed).toEqual([]);

        for (const name of lost)
          await connect(all, server, name, { at: Date.now() + 3_600_000 }, ['--replace']);
      }
    },
    30_000 + rounds * 30_000,
  );
});

function shuffled<Item>(items: readonly Item[], random: () => number): Item[] {
  return items
    .map((item) => ({ item, place: random() }))
    .toSorted((a, b) => a.place - b.place)
    .map(({ item }) => item);
}
