import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../../config/config.ts';
import { loadConfig } from '../../config/load.ts';
import { writeTrustFiles } from '../../clients/trust-files.ts';
import { clientVariables } from '../../clients/variables.ts';
import { startProxy } from '../../main.ts';
import { ownHost } from '../../policy/own-host.ts';
import { newToken } from '../agent/token.ts';
import type { Context } from '../context.ts';
import { proxyUrl } from '../proxy-url.ts';

/** A proxy for the probes: with a CA, a store and an audit log of its own, so that those of the person stay as they are. */
export interface ProbeStand {
  /** What the probes are to get. */
  readonly url: string;
  /** The environment that they are given. */
  readonly env: NodeJS.ProcessEnv;
  /** A folder of theirs. */
  readonly folder: string;
  /** What a person should know of the trust files. */
  readonly notes: readonly string[];
}

const agent = 'doctor';

/** Starts it, gives it to `use`, and takes everything away again. */
export async function withProbeStand<T>(
  { env, now }: Pick<Context, 'env' | 'now'>,
  { proxy: { agents } }: Pick<Config, 'proxy'>,
  use: (stand: ProbeStand) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'sidekey-doctor-'));
  try {
    const file = join(folder, 'sidekey.yaml');
    // JSON is YAML too.
    await writeFile(file, JSON.stringify(settings(agents)), { mode: 0o600 });
    const quiet = { error() {}, warn() {}, info() {}, debug() {} };
    const running = await startProxy(await loadConfig(file, { env: {} }), { log: quiet, now, env: {} });
    try {
      const token = newToken(agent, { label: 'main', expiresAt: null, at: now() });
      await running.state.store.agents.insert(
        { name: agent, user: null, labels: [], disabledAt: null, createdAt: now() },
        { tokens: [token.record], bindings: [] },
      );
      const authorityPem = await readFile(running.authority.certificateFile, 'utf8');
      const trust = await writeTrustFiles(join(folder, 'trust'), { authorityPem, parent: env });
      const { host, port } = running.address;
      const variables = clientVariables({
        parent: env,
        proxy: { url: proxyUrl(running.address, `${agent}:${token.secret}`), host, port },
        trust,
        noProxy: [],
      });
      return await use({
        url: `https://${ownHost}/`,
        env: { ...env, ...variables },
        folder,
        notes: trust.notes,
      });
    } finally {
      await running.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function settings(agents: Config['proxy']['agents']): object {
  return {
    version: 1,
    proxy: { listen: '127.0.0.1:0', agents },
    workers: 1,
    admin: { listen: '127.0.0.1:0' },
    store: 'sqlite:store.db',
    key: { source: 'file', path: 'master.key' },
    ca: { directory: 'ca' },
    audit: { file: 'audit.jsonl' },
    log: { level: 'fatal' },
  };
}
