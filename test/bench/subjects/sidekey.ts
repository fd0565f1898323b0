/** Sidekey: with everything on, and as a blind tunnel. */
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { freePort } from '../../support/free-port.ts';
import { openState } from '../../../src/app/state.ts';
import { newToken } from '../../../src/operations/agent-token.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { createLog } from '../../../src/lib/log.ts';
import type { Ground, Prepared, Subject } from '../subject.ts';

/** The installed program instead of the sources: `npm run bench` builds it first. */
const entryFile = fileURLToPath(new URL('../../../dist/sidekey.js', import.meta.url));
const sourceEntryFile = fileURLToPath(new URL('../../../src/sidekey.js', import.meta.url));

const agent = 'bench-agent';

export function sidekey(ground: Ground): Subject {
  return {
    id: 'sidekey',
    title: 'Sidekey',
    what: 'Sidekey, everything on: agent token, five rules, OAuth grant, audit on disk',
    adds: true,
    coldReason: null,
    filesPerTunnel: 1,
    prepare: (folder) => prepare(ground, folder, guarded),
  };
}

export function sidekeyWorkers(ground: Ground): Subject {
  return {
    ...sidekey(ground),
    id: 'sidekey-workers',
    title: 'Sidekey, 2 workers',
    what: 'Sidekey as before, by two processes on one port',
    prepare: (folder) => prepare(ground, folder, guarded, 2),
  };
}

/** With the API on a port. */
export function sidekeyApi(ground: Ground, apiPort: number, workers: number): Subject {
  return {
    ...sidekey(ground),
    id: `sidekey-api-${workers}`,
    title: workers === 1 ? '1 process' : `${workers} workers`,
    prepare: (folder) =>
      prepare(ground, folder, guarded, workers, entryFile, { admin: { listen: `127.0.0.1:${apiPort}` } }),
  };
}

/** With room for thousands of exchanges at a time. */
export function sidekeyStreams(ground: Ground): Subject {
  const limits = { client_connections: 12_000, upstream_connections: 10_000, agent_exchanges: 10_000 };
  return {
    ...sidekey(ground),
    prepare: (folder) => prepare(ground, folder, guarded, 1, entryFile, { limits }),
  };
}

/** With the work that goes on beside requests: a log that rotates often, and 500 tokens of a minute. */
export function sidekeyUpkeep(ground: Ground): Subject {
  const audit = { file: '../data/audit.jsonl', max_size: '256KiB', keep_files: 3 };
  return {
    ...sidekey(ground),
    id: 'sidekey-upkeep',
    prepare: (folder) => prepare(ground, folder, guarded, 1, entryFile, { audit }, 500),
  };
}

/** The sources, for measurements that count files and functions. */
export function sidekeySources(ground: Ground): Subject {
  return {
    ...sidekey(ground),
    id: 'sidekey-sources',
    prepare: (folder) => prepare(ground, folder, guarded, 1, sourceEntryFile),
  };
}

const guarded = { grant: 'bench', rules: [{ policy: 'usual' }] };

export function sidekeyTunnel(ground: Ground): Subject {
  return {
    id: 'sidekey-tunnel',
    title: 'Sidekey tunnel',
    what: 'Sidekey, domain passed through blind: agent token, audit on disk',
    adds: false,
    coldReason: null,
    filesPerTunnel: 2,
    prepare: (folder) => prepare(ground, folder, 'tunnel'),
  };
}

/** Five rules, of which the fourth and the fifth allow what the bench asks for. */
const policies = {
  usual: [
    { methods: ['DELETE'], outcome: 'deny' },
    { paths: ['/admin/**', '/repos/*/*/settings/**'], outcome: 'deny' },
    { methods: ['PUT', 'PATCH'], agents: ['deploy-*'], require_reason: true },
    { name: 'read', methods: ['GET', 'HEAD'], paths: ['/1k', '/10m', '/user/**'], agents: ['bench-*'] },
    { name: 'send', methods: ['POST'], paths: ['/upload', '/repos/*/*/issues/**'] },
  ],
};

async function prepare(
  ground: Ground,
  folder: string,
  domain: object | string,
  workers = 1,
  program = entryFile,
  more: object = {},
  shortTokens = 0,
): Promise<Prepared> {
  const { host, token } = ground;
  await chmod(folder, 0o700);
  const port = await freePort();
  const authorities = [`${host}:${ground.port}`, `*.bench.test:${ground.port}`];
  // The folders of a new installation: the folder of the config is watched, and the audit file stands in
  // another.
  const configFile = join(folder, 'config', 'sidekey.yaml');
  await mkdir(join(folder, 'config'), { mode: 0o700 });
  await mkdir(join(folder, 'data'), { mode: 0o700 });
  const config = {
    version: 1,
    workers,
    proxy: { listen: `127.0.0.1:${port}`, authentication: 'required' },
    store: 'sqlite:../data/sidekey.db',
    key: { source: 'file', path: '../data/master.key' },
    ca: { directory: '../certs' },
    audit: { file: '../data/audit.jsonl' },
    upstream: {
      ca: [ground.rootFile],
      resolve: Object.fromEntries(
        [host, 'login.bench.test', ...ground.coldHosts].map((name) => [name, '127.0.0.1']),
      ),
      private_addresses: ['127.0.0.1/32'],
    },
    limits: { client_connections: 12_000 },
    providers: {
      bench: {
        authorization_endpoint: 'https://login.bench.test/authorize',
        token_endpoint: `https://login.bench.test:${ground.port}/token`,
        client_id: 'bench',
        audience: authorities,
      },
    },
    ...(domain === 'tunnel' ? {} : { policies }),
    domains: Object.fromEntries(authorities.map((authority) => [authority, domain])),
    ...more,
  };
  await writeFile(configFile, stringify(config), { mode: 0o600 });
  const secret = await fill(configFile, { token, audience: authorities, shortTokens });
  return {
    command: process.execPath,
    args: [program, 'start', '--config', configFile],
    port,
    auditFile: join(folder, 'data', 'audit.jsonl'),
    proxyUser: `${agent}:${secret}`,
    ca:
      domain === 'tunnel' ? async () => ground.root : () => readFile(join(folder, 'certs', 'ca.crt'), 'utf8'),
  };
}

/** The grants of a store. */
interface Stored {
  readonly token: string;
  readonly audience: readonly string[];
  /** Grants whose tokens end soon. */
  readonly shortTokens: number;
}

/** Puts the grants and the agent into the store, as the command line does. Returns the agent's token. */
async function fill(
  configFile: string,
  { token: accessToken, audience, shortTokens }: Stored,
): Promise<string> {
  const config = await loadConfig(configFile, { env: {} });
  const state = await openState(config, { log: createLog('warn'), now: Date.now });
  try {
    const now = Date.now();
    const add = (name: string, lifetimeMs: number) =>
      state.grants.add(
        { name, user: 'default', provider: 'bench', scopes: ['read', 'write'] },
        {
          credential: {
            type: 'oauth2',
            accessToken,
            refreshToken: 'bench-refresh-0123456789abcdef',
            expiresAt: now + lifetimeMs,
            obtainedAt: now,
            scope: 'read write',
            clientId: null,
            clientSecret: null,
            tokenEndpoint: null,
          },
          audience,
        },
      );
    const grant = await add('bench', 12 * 3_600_000);
    for (let index = 0; index < shortTokens; index += 1) {
      const { id } = await add(`short-${index}`, 60_000);
      // Only tokens of grants in use are refreshed ahead.
      await state.store.activity.note(id, { usedAt: now });
    }
    const token = newToken(agent, { label: 'main', expiresAt: null, at: now });
    await state.store.agents.insert(
      { name: agent, user: null, labels: ['bench'], disabledAt: null, createdAt: now },
      { tokens: [token.record], bindings: [{ kind: 'grant', value: grant.id }] },
    );
    return token.secret;
  } finally {
    await state.close();
  }
}
