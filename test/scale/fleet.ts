import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { stringify } from 'yaml';
import { openView } from '../../src/app/state.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { OpenedGrant } from '../../src/domain/credential.ts';
import type { Registry } from '../../src/grants/registry.ts';
import { home, type Home, type Running } from '../support/command-line.ts';
import { type Answer, proxiedGet } from '../support/proxied-get.ts';
import { upstreamCa, upstreamHost } from '../support/upstream.ts';
import { type Databases, startDatabases } from './database.ts';
import { addSharedAddresses, type NodeNetwork, nodeNetwork, shared } from './network.ts';
import { apiHost, type RotatingProvider, startRotatingProvider } from './provider.ts';

/** A real `sidekey start` in a network namespace, with a home of its own. */
export interface Node extends NodeNetwork {
  readonly at: Home;
  readonly running: () => Running;
  readonly start: () => Promise<void>;
  /** Sends SIGKILL, and resolves when it has ended. */
  readonly kill: () => Promise<void>;
  readonly signal: (name: 'SIGSTOP' | 'SIGCONT') => void;
  /** Runs a command as the node does, with its clock; resolves with its output. */
  readonly command: (args: readonly string[]) => Promise<string>;
  /** Sends a GET as the agent, with the grant of a person. */
  readonly get: (grant: string, path?: string) => Promise<Answer>;
}

/** Three nodes, their database, and a provider. */
export interface Fleet {
  readonly nodes: readonly [Node, Node, Node];
  readonly databases: Databases;
  readonly provider: RotatingProvider;
  /** A home beside the nodes, for commands of people. */
  readonly at: Home;
  /** Imports a consent of this person as the grant of that name. */
  readonly connect: (...grants: readonly string[]) => Promise<void>;
  /** Imports a new consent in the place of one that has ended. */
  readonly reconnect: (grant: string) => Promise<void>;
  /** The token of the agent `robot`, which reaches everything. */
  readonly token: string;
  /** Creates a lease of it, and returns its token. */
  readonly lease: () => Promise<string>;
  /** Lets the access tokens of grants end, in the store and at the API. Default: all grants, at once. */
  readonly endTokens: (inMs?: number, grants?: readonly string[]) => Promise<void>;
  /**
   * Fails unless each grant is active with a refresh token that works, no token was used twice, and audit
   * logs verify.
   */
  readonly expectWhole: (options?: { readonly reuses?: number }) => Promise<void>;
}

interface FleetOptions {
  readonly config?: object;
  /** Milliseconds by which the clocks of the nodes are ahead; default: 0. */
  readonly skewsMs?: readonly number[];
  /** The nodes are processes of one machine, as far as they can see. Default: false. */
  readonly isSameMachine?: boolean;
  /** The domain map entry of the API, besides its grant. */
  readonly domain?: object;
}

/** The token of the agent `robot`, once it was created. */
const agent = 'robot';

/** Starts three nodes; stopped when the test ends. */
export async function startFleet({
  config = {},
  skewsMs = [],
  isSameMachine = false,
  domain = {},
}: FleetOptions = {}): Promise<Fleet> {
  addSharedAddresses();
  const provider = await startRotatingProvider();
  const databases = await startDatabases();
  const { authority, tokenEndpoint } = provider;
  const configOf = (listen: string, key: string) => ({
    proxy: { listen, authentication: 'required' },
    store: databases.url,
    key: { source: 'file', path: key },
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: shared.provider, [apiHost]: shared.api },
      private_addresses: [`${shared.provider}/32`, `${shared.api}/32`],
    },
    domains: { [authority]: { grant: 'acme', ...domain } },
    providers: {
      acme: {
        token_endpoint: tokenEndpoint,
        client_id: 'robot',
        client_secret: 'env:SECRET',
        audience: [authority],
      },
    },
    ...config,
  });
  const env = { SECRET: 'the-secret-of-the-robot' };
  const at = await home(configOf('127.0.0.1:0', 'master.key'));
  await writeFile(at.at('config', 'upstream-ca.pem'), upstreamCa);

  async function made(args: readonly string[]): Promise<string> {
    const { exit, stdout, stderr } = await at.run(args, { env });
    if (exit !== 0) throw new Error(stderr);
    return stdout;
  }
  const created = await made(['agent', 'create', agent, '--everything']);
  const token = /:(sidekey_agent_[\w-]{43})@/.exec(created)?.[1] ?? '';

  async function node(index: number): Promise<Node> {
    const network = await nodeNetwork(index, isSameMachine);
    const its = await home();
    await writeFile(
      its.configFile,
      stringify({
        version: 1,
        workers: 1,
        ...configOf(`${network.listen}:0`, at.at('config', 'master.key')),
      }),
    );
    await writeFile(its.at('config', 'upstream-ca.pem'), upstreamCa);
    const skewMs = skewsMs[index] ?? 0;
    const skewed = {
      NODE_OPTIONS: `--import=${fileURLToPath(new URL('skewed-clock.ts', import.meta.url))}`,
      SKEW_MS: String(skewMs),
    };
    const options = { within: network.within, env: { ...env, ...(skewMs === 0 ? {} : skewed) } };
    let running = await its.start(options);
    return {
      ...network,
      at: its,
      running: () => running,
      start: async () => void (running = await its.start(options)),
      kill: () => running.kill(),
      signal: (name) => void process.kill(running.pid, name),
      async command(args) {
        const { exit, stdout, stderr } = await its.program(args, options);
        if (exit !== 0) throw new Error(stderr);
        return stdout;
      },
      get: (grant, path = '/items') =>
        proxiedGet(running.url, `https://${authority}${path}`, {
          'proxy-authorization': `Bearer ${token}`,
          'sidekey-grant': grant,
        }),
    };
  }

  async function withGrants<T>(
    use: (opened: readonly OpenedGrant[], registry: Registry) => Promise<T>,
  ): Promise<T> {
    const view = await openView(await loadConfig(at.configFile, { env }), { now: Date.now, env });
    try {
      const registry = (await view.registry())!;
      const opened = await Promise.all(
        (await view.store!.grants.find({})).map(({ id }) => registry.read(id)),
      );
      return await use(
        opened.filter((each) => each !== null),
        registry,
      );
    } finally {
      await view.close();
    }
  }

  async function consentTo(grant: string, ...more: readonly string[]): Promise<void> {
    const credential = { ...(await provider.consent(grant)), expires_at: Date.now() + 3_600_000 };
    await at.grant(grant, credential, ['--provider', 'acme', ...more]);
  }

  const nodes = [await node(0), await node(1), await node(2)] as const;
  return {
    nodes,
    databases,
    provider,
    at,
    connect: async (...grants) => {
      for (const grant of grants) await consentTo(grant);
    },
    reconnect: (grant) => consentTo(grant, '--replace'),
    token,
    async lease() {
      const line = await made([
        'lease',
        'create',
        '--agent',
        agent,
        '--grant',
        'acme',
        '--purpose',
        'a test',
      ]);
      return /:(sidekey_lease_[\w-]{43})@/.exec(line)?.[1] ?? '';
    },
    endTokens: (inMs = 0, grants) =>
      withGrants(async (opened, registry) => {
        for (const { grant, sealed } of opened) {
          const { credential } = sealed;
          if (credential.type !== 'oauth2' || grants?.includes(grant.name) === false) continue;
          const expiresAt = Date.now() + inMs;
          provider.end(credential.accessToken ?? '', expiresAt);
          await registry.replaceCredential(grant, { ...sealed, credential: { ...credential, expiresAt } });
        }
      }),
    expectWhole: ({ reuses = 0 } = {}) =>
      withGrants(async (opened) => {
        for (const { grant, sealed } of opened) {
          const { credential } = sealed;
          if (credential.type !== 'oauth2') continue;
          expect([grant.name, grant.state, grant.stateReason]).toEqual([grant.name, 'active', null]);
          const isCurrent = await provider.isCurrent(credential.refreshToken ?? '');
          expect([grant.name, isCurrent]).toEqual([grant.name, true]);
        }
        expect(provider.reuses).toHaveLength(reuses);
        for (const each of [at, ...nodes.map((one) => one.at)]) {
          const { exit, stdout, stderr } = await each.run(['audit', 'verify'], { env });
          expect([exit, stdout, stderr]).toEqual([0, expect.any(String), expect.any(String)]);
        }
      }),
  };
}

export const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resolves when the node serves this grant; fails after half a minute. */
export async function serves(node: Node, grant: string): Promise<void> {
  await expect.poll(() => node.get(grant), { timeout: 30_000, interval: 100 }).toMatchObject({ status: 200 });
}

/** Lets the next token request begin its wait at the provider, until the returned function is called. */
export function holdTokens({ provider }: Pick<Fleet, 'provider'>) {
  const [asked, released] = [Promise.withResolvers<string>(), Promise.withResolvers<void>()];
  provider.onRequest = (from) => {
    asked.resolve(from);
    return released.promise;
  };
  return { asked: asked.promise, release: released.resolve };
}
