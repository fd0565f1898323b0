/** Clients that Sidekey registers: deviations of servers by a table, and registrations that ended. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { parse } from 'yaml';
import { home, type Home } from '../../support/command-line.ts';
import { begin } from '../../support/connect-home.ts';
import { type Deviation, openAtUpstream, startRegisteringServer } from '../../support/registering-server.ts';
import { cases } from './client-cases.ts';

const env = { INITIAL: 'initial-token-1234' };

async function start(deviation: Deviation, adminUrl?: string) {
  const server = await startRegisteringServer(deviation);
  const admin = adminUrl === undefined ? {} : { admin: { listen: '127.0.0.1:0', url: adminUrl } };
  const at = await home({ ...server.settings, ...admin });
  await writeFile(join(at.folder, 'config', 'upstream-ca.pem'), server.ca);
  const provider = async () => {
    const config = parse(await readFile(at.configFile, 'utf8')) as {
      providers?: Record<string, Record<string, unknown>>;
    };
    return config.providers?.['desk'];
  };
  return { server, at, provider };
}

/** Runs `connect`, and answers its consent page if there is one. */
async function connect(at: Home, args: readonly string[]) {
  const command = begin(['connect', ...args, '--paste', '--config', at.configFile], at.folder, { env });
  const seen = await Promise.race([command.said(/\/authorize\?\S+\s/), command.done.then(() => null)]).catch(
    () => null,
  );
  const [url] = /https:\/\/\S+\/auth(?:orize)?\?\S+/.exec(seen ?? '') ?? [];
  if (url !== undefined) command.stdin.write(`${(await openAtUpstream(url)).href}\n`);
  return command.done;
}

/** Returns what `status` says of grants. */
async function needsOf(at: Home) {
  const { needs } = (await at.json(['status'])) as {
    needs: { about: string; sentence: string; hint: string }[];
  };
  return needs.filter(({ about }) => about === 'grants');
}

for (const [title, rows] of Object.entries(cases)) {
  describe(`${title}:`, () => {
    test.each(rows)(
      '$name',
      async ({ server: deviation, args = [], adminUrl, written, registrations, says = [] }) => {
        const { server, at, provider } = await start(deviation, adminUrl);
        const more = args.map((word) => word.replace('ISSUER', server.issuer));
        const ran = await connect(at, [server.issuer, '--discover', '--name', 'desk', ...more]);
        expect(ran.exit === 0, ran.stderr).toBe(written !== undefined);
        expect(server.registrations).toHaveLength(registrations);
        for (const text of says) expect(ran.stderr).toContain(text);
        expect(ran.stdout + ran.stderr).not.toContain(env.INITIAL);
        if (written === undefined) return expect(await provider()).toBeUndefined();
        expect(await provider()).toMatchObject(written);
        expect(await needsOf(at)).toEqual([]);
        expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });
      },
    );
  });
}

interface Shown {
  readonly id: string;
  readonly client_id: string;
}

const desk = ['desk'];

async function connected(deviation: Deviation = {}) {
  const started = await start(deviation);
  const { server, at } = started;
  const ran = await connect(at, [server.issuer, '--discover', '--name', 'desk']);
  expect(ran.exit, ran.stderr).toBe(0);
  const shown = async (name = 'desk') => (await at.json(['grant', 'show', name])) as Shown;
  return { ...started, shown, need: () => needsOf(at) };
}

const day = 86_400_000;

function daysLater(days: number) {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + days * day });
}

afterEach(() => {
  vi.useRealTimers();
});

const again = 'sidekey connect desk --replace';

describe('a client that the server deleted', () => {
  test.each<{ name: string; unknownClient: NonNullable<Deviation['unknownClient']> }>([
    { name: 'a page with 400', unknownClient: { page: 400 } },
    { name: 'a page with 401', unknownClient: { page: 401 } },
    { name: 'a redirect with invalid_client', unknownClient: { error: 'invalid_client' } },
    { name: 'a redirect with unauthorized_client', unknownClient: { error: 'unauthorized_client' } },
  ])('is registered anew if the authorization endpoint answers with $name', async ({ unknownClient }) => {
    const { server, at, provider, shown } = await connected({ unknownClient });
    const before = await shown();
    await at.run(['agent', 'create', 'ci', '--grant', 'desk']);
    await at.run(['grant', 'set', 'desk', '--label', 'team', '--meta', 'team=infra']);
    server.clients.clear();
    const ran = await connect(at, [...desk, '--replace']);
    expect(ran).toMatchObject({ exit: 0, stderr: expect.stringContaining('registered itself anew') });
    expect(await provider()).toMatchObject({ client_id: 'client-2' });
    expect(await shown()).toMatchObject({
      id: before.id,
      client_id: 'client-2',
      settings: { labels: ['team'], metadata: { team: 'infra' } },
      reached_by: { agents: [{ name: 'ci' }] },
    });
    expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });
  });

  test('is named by the refresh and by status, with the command that registers anew', async () => {
    const { server, at, need } = await connected({ unknownClient: { page: 200 } });
    server.clients.clear();
    const refreshed = await at.run(['grant', 'refresh', 'desk', '--force']);
    expect(refreshed.exit).not.toBe(0);
    expect(refreshed.stderr).toContain('invalid_client');
    expect(refreshed.stderr).toContain(again);
    expect(await need()).toMatchObject([
      { sentence: expect.stringContaining('invalid_client'), hint: again },
    ]);
    // The page has status 200, so only the failed refresh shows that the client is gone.
    expect((await connect(at, [...desk, '--replace'])).exit).toBe(0);
    expect(server.registrations).toHaveLength(2);
    expect(await need()).toEqual([]);
  });

  test('is registered anew with the redirect URI that the server accepted', async () => {
    const { server, at, provider } = await connected({
      register: ({ redirect_uris: uris }) =>
        (uris as string[]).some((uri) => uri.includes('127.0.0.1'))
          ? { status: 400, body: '{"error":"invalid_redirect_uri"}' }
          : {},
    });
    server.clients.clear();
    const ran = await connect(at, [...desk, '--replace']);
    expect(ran.exit, ran.stderr).toBe(0);
    expect(await provider()).toMatchObject({ redirect_uri: 'http://localhost:8765/callback' });
    expect(server.registrations.at(-1)).toMatchObject({ redirect_uris: ['http://localhost:8765/callback'] });
    expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });
  });

  test('is registered anew with --register if nothing shows that it is gone', async () => {
    const { server, at } = await connected({ unknownClient: { page: 200 } });
    server.clients.clear();
    expect((await connect(at, [...desk, '--replace', '--register'])).exit).toBe(0);
    expect(server.registrations).toHaveLength(2);
  });

  test('leads to the answer of the server if that registers no other', async () => {
    const { server, at, provider } = await connected();
    const before = await provider();
    server.clients.clear();
    server.deviate({ register: () => ({ status: 401, body: '{}' }) });
    expect(await connect(at, [...desk, '--replace'])).toMatchObject({
      exit: 5,
      stderr: expect.stringContaining('--registration-token env:NAME'),
    });
    expect(await provider()).toEqual(before);
  });
});

/** Runs `connect`, and ends standard input instead of an answer. */
const unfinished = async (at: Home, args: readonly string[]) => {
  const command = begin(['connect', ...args, '--paste', '--config', at.configFile], at.folder, { env });
  await command.said(/\/authorize\?\S+\s/);
  command.stdin.end();
  expect((await command.done).exit).not.toBe(0);
};
describe('a consent that is not finished', () => {
  const confidential = { metadata: { token_endpoint_auth_methods_supported: ['client_secret_basic'] } };

  test('leaves the old client in place, and the next registers anew', async () => {
    const { server, at, provider } = await connected(confidential);
    const before = await provider();
    server.clients.clear();
    await unfinished(at, [...desk, '--replace']);
    expect(await provider()).toEqual(before);
    expect((await connect(at, [...desk, '--replace'])).exit).toBe(0);
    expect(await provider()).toMatchObject({ client_id: 'client-3' });
    expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });
  });

  test('loses the secret of the first client, so the next discovery registers another', async () => {
    const { server, at } = await start(confidential);
    const discovering = [server.issuer, '--discover', '--name', 'desk'];
    await unfinished(at, discovering);
    expect((await connect(at, discovering)).exit).toBe(0);
    expect(server.registrations).toHaveLength(2);
    expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });
  });
});

describe('a client that a person registered', () => {
  test('is never replaced, not even if the server deleted it', async () => {
    const { server, at, provider } = await start({});
    const first = await connect(at, [
      server.issuer,
      '--discover',
      '--name',
      'desk',
      '--client-id',
      'by-hand',
    ]);
    expect(first.exit, first.stderr).toBe(0);
    server.clients.clear();
    const refreshed = await at.run(['grant', 'refresh', 'desk', '--force']);
    expect(refreshed.stderr).toContain('client_id');
    expect(refreshed.stderr).not.toContain(again);
    await unfinished(at, [...desk, '--replace']);
    expect(server.registrations).toEqual([]);
    expect(await provider()).toMatchObject({ client_id: 'by-hand' });
  });
});

describe('--register', () => {
  test('is refused for a service that registers no clients', async () => {
    const { at } = await start({});
    expect(await connect(at, ['github', '--register', '--no-browser'])).toMatchObject({
      exit: 5,
      stderr: expect.stringContaining('lets no client register itself'),
    });
  });

  test('is refused beside a client secret of the config file', async () => {
    const { at } = await start({});
    await at.run(
      ['connect', 'github', '--client-id', 'mine', '--client-secret', 'env:INITIAL', '--print-url'],
      { env },
    );
    expect(await connect(at, ['github', '--register', '--no-browser'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('has a client that was registered by hand'),
    });
  });
});

describe('a client that works', () => {
  test('is kept by --replace, and replaced by --register', async () => {
    const { server, at } = await connected();
    expect((await connect(at, [...desk, '--replace'])).exit).toBe(0);
    expect(server.registrations).toHaveLength(1);
    expect((await connect(at, [...desk, '--replace', '--register'])).exit).toBe(0);
    expect(server.registrations).toHaveLength(2);
  });

  test('serves a second account, and stays with it when the first gets a new client', async () => {
    const { server, at, shown } = await connected({
      metadata: { token_endpoint_auth_methods_supported: ['client_secret_post'] },
    });
    expect((await connect(at, [...desk, '--name', 'second'])).exit).toBe(0);
    expect(server.registrations).toHaveLength(1);
    // The new client is public, and the old one still authenticates as it did.
    server.deviate({ metadata: {} });
    expect((await connect(at, [...desk, '--replace', '--register'])).exit).toBe(0);
    expect((await shown('second')).client_id).toBe('client-1');
    for (const name of ['desk', 'second'])
      expect(await at.json(['grant', 'refresh', name, '--force'])).toMatchObject({ renewed: true });
  });

  test('keeps its secret over --print-url and --finish', async () => {
    const { server, at } = await connected({
      metadata: { token_endpoint_auth_methods_supported: ['client_secret_basic'] },
    });
    const { consent_url: url } = (await at.json(['connect', 'desk', '--replace', '--print-url'])) as {
      consent_url: string;
    };
    const callback = await openAtUpstream(url);
    expect(await at.run(['connect', '--finish', callback.href])).toMatchObject({ exit: 0 });
    expect(await at.json(['grant', 'refresh', 'desk', '--force'])).toMatchObject({ renewed: true });
    expect(server.registrations).toHaveLength(1);
  });
});

const expiring = (days: number): Deviation => ({
  metadata: { token_endpoint_auth_methods_supported: ['client_secret_basic'] },
  register: () => ({ body: { client_secret_expires_at: Math.floor(Date.now() / 1000) + days * 86_400 } }),
});

describe('a client secret with an expiry', () => {
  test('is reported by status before it ends, and after', async () => {
    const { need } = await connected(expiring(30));
    expect(await need()).toEqual([]);
    daysLater(20);
    expect(await need()).toEqual([]);
    daysLater(5);
    expect(await need()).toMatchObject([
      {
        sentence: expect.stringMatching(
          /client that Sidekey registered for desk ends in .*, and with it every refresh/,
        ),
        hint: again,
      },
    ]);
    daysLater(10);
    expect(await need()).toMatchObject([{ sentence: expect.stringContaining('ended'), hint: again }]);
  });

  test('is replaced with its client before it ends', async () => {
    const { server, at, need } = await connected(expiring(30));
    daysLater(25);
    expect((await connect(at, [...desk, '--replace'])).exit).toBe(0);
    expect(server.registrations).toHaveLength(2);
    expect(await need()).toEqual([]);
  });

  test('that ended explains every refusal of a refresh', async () => {
    const { server, at } = await connected(expiring(30));
    daysLater(31);
    server.clients.clear();
    expect((await at.run(['grant', 'refresh', 'desk', '--force'])).stderr).toContain(again);
  });
});
