import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeTrustFiles } from '../../clients/trust-files.ts';
import { clientVariables } from '../../clients/variables.ts';
import type { Config } from '../../config/config.ts';
import { loadConfig } from '../../config/load.ts';
import { startProxy } from '../../app/proxy.ts';
import { newToken } from '../../operations/agent-token.ts';
import { proxyUrl } from '../../operations/format.ts';
import type { Call } from '../../operations/operation.ts';
import { ownHost } from '../../proxy/policy/authority.ts';

/** A proxy for the probes. It has its own CA, store and audit log, and leaves those of the user unchanged. */
export interface ProbeFixture {
  readonly url: string;
  readonly env: NodeJS.ProcessEnv;
  readonly folder: string;
  /** Notes about the trust files, for a person. */
  readonly notes: readonly string[];
}

const agent = 'doctor';

/** Starts the fixture, passes it to `use`, and removes it. */
export async function withProbeFixture<T>(
  { env, now }: Pick<Call, 'env' | 'now'>,
  { proxy: { authentication } }: Pick<Config, 'proxy'>,
  use: (fixture: ProbeFixture) => Promise<T>,
): Promise<T> {
  await using temporary = await mkdtempDisposable(join(tmpdir(), 'sidekey-doctor-'));
  const folder = temporary.path;
  const file = join(folder, 'sidekey.yaml');
  // JSON is valid YAML.
  await writeFile(file, JSON.stringify(settings(authentication)), { mode: 0o600 });
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
}

function settings(authentication: Config['proxy']['authentication']): object {
  return {
    version: 1,
    proxy: { listen: '127.0.0.1:0', authentication },
    workers: 1,
    admin: { listen: '127.0.0.1:0' },
    store: 'sqlite:store.db',
    key: { source: 'file', path: 'master.key' },
    ca: { directory: 'ca' },
    audit: { file: 'audit.jsonl' },
    log: { level: 'fatal' },
  };
}
