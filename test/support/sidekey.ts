import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import { joinExchanges } from '../../src/audit/join.ts';
import type { AuditLine } from '../../src/domain/event.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Credential } from '../../src/domain/credential.ts';
import type { Grant } from '../../src/domain/grant.ts';
import type { Log } from '../../src/lib/log.ts';
import type { ProxyParts } from '../../src/app/core.ts';
import { startProxy, type Proxy } from '../../src/app/proxy.ts';
import { tempFolder } from './temp-folder.ts';
import { upstreamCa, upstreamHost } from './upstream.ts';

/** A complete proxy of a test, with its own folder, store, key, CA and port. */
export interface TestSidekey {
  readonly proxy: Proxy;
  readonly folder: string;
  readonly configFile: string;
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly port: number;
  /** Path of the CA certificate that clients trust. */
  readonly caFile: string;
  readonly caPem: string;
  /** The whole log as text. */
  logged(): string;
  /** The audit events so far. */
  audit(): Promise<readonly AuditLine[]>;
  /** Resolves with the first matching audit event when it is in the file. */
  audited(fits: (line: AuditLine) => boolean): Promise<AuditLine>;
  /** Adds a grant for these authorities. */
  grant(audience: readonly string[], options?: Partial<GrantOptions>): Promise<Grant>;
  /** Writes another config and loads it. */
  configure(config: object): Promise<void>;
}

export interface GrantOptions {
  readonly name: string;
  readonly user: string;
  readonly provider: string;
  readonly credential: Credential;
}

export interface SidekeyOptions {
  /** The `domains` of the config. */
  readonly domains?: object;
  /** More of the config, merged over that of the test. */
  readonly config?: Readonly<Record<string, object>>;
  readonly now?: () => number;
  readonly env?: NodeJS.ProcessEnv;
  /** Replaces the temporary folder: for a second proxy on the same state. */
  readonly folder?: string;
  /** The secret of session tickets that workers share. */
  readonly ticketMaterial?: Uint8Array;
  /** Replaces the owner of local connections that the system reports. */
  readonly peerOwner?: ProxyParts['peerOwner'];
  /** Addresses of clouds for sources. */
  readonly clouds?: ProxyParts['clouds'];
  /** Present: the proxy has an API. */
  readonly probePrograms?: ProxyParts['probePrograms'];
}

export const bearerToken = 'token-of-the-grant-0123456789';
export const apiKey: Credential = { type: 'api_key', value: bearerToken };

/** Starts a proxy that may reach only upstreams of tests; closed when the test ends. */
export async function startSidekey(options: SidekeyOptions = {}): Promise<TestSidekey> {
  const folder = options.folder ?? (await tempFolder());
  const configFile = join(folder, 'sidekey.yaml');
  await writeFile(join(folder, 'upstream-ca.pem'), upstreamCa);
  const write = (config: object) => writeFile(configFile, stringify(config));
  const base = {
    version: 1,
    proxy: { listen: '127.0.0.1:0' },
    store: 'sqlite:data/sidekey.db',
    key: { source: 'file', path: 'data/master.key' },
    ca: { directory: 'certs' },
    audit: { file: 'data/audit.jsonl' },
    upstream: {
      ca: ['upstream-ca.pem'],
      resolve: { [upstreamHost]: '127.0.0.1' },
      private_addresses: ['127.0.0.1/32'],
    },
    domains: options.domains ?? {},
    ...options.config,
  };
  await write(base);
  const lines: string[] = [];
  const tell = (fields: object, message: string) => lines.push(`${message} ${describe(fields)}`);
  const log: Log = { error: tell, warn: tell, info: tell, debug: tell };
  // No test reads the logins of its own machine.
  const { env = { HOME: folder, INIT_CWD: folder } } = options;
  const config = await loadConfig(configFile, { env });
  const proxy = await startProxy(config, {
    log,
    now: options.now ?? Date.now,
    env,
    ticketMaterial: options.ticketMaterial,
    peerOwner: options.peerOwner,
    probePrograms: options.probePrograms,
    clouds: options.clouds,
  });
  onTestFinished(() => proxy.close());

  const audit = async () =>
    (await readFile(config.audit.file, 'utf8'))
      .split('\n')
      // The last line may still be incomplete.
      .slice(0, -1)
      .map((line) => JSON.parse(line) as AuditLine)
      .map(joinExchanges());
  return {
    proxy,
    folder,
    configFile,
    url: `http://127.0.0.1:${proxy.address.port}`,
    port: proxy.address.port,
    caFile: proxy.authority.certificateFile,
    caPem: proxy.authority.certificatePem,
    logged: () => lines.join('\n'),
    audit,
    async audited(fits) {
      for (;;) {
        const found = (await audit()).find(fits);
        if (found !== undefined) return found;
        // Notes are written in a later turn.
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
    grant: (audience, { name = 'acme', user = 'default', provider = 'acme', credential = apiKey } = {}) =>
      proxy.state.grants.add({ name, user, provider, scopes: [] }, { credential, audience }),
    async configure(next) {
      await write({ ...base, ...next });
      await proxy.reload();
    },
  };
}

function describe(fields: object): string {
  return JSON.stringify(fields, (_key, value: unknown) =>
    value instanceof Error ? { message: value.message, stack: value.stack, cause: value.cause } : value,
  );
}
