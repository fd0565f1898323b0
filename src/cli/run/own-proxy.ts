import { closeSync, openSync, writeSync } from 'node:fs';
import { hashToken } from '../../agents/authentication.ts';
import { withOrigin } from '../../audit/log.ts';
import type { Config } from '../../config/config.ts';
import type { Policies } from '../../config/rules-resolve.ts';
import { didYouMean, SidekeyError, systemCode } from '../../lib/errors.ts';
import { createLog, type Log } from '../../lib/log.ts';
import { isOwnUser } from '../../lib/peer-user.ts';
import { shellWord } from '../../lib/text.ts';
import { systemTimers } from '../../lib/timers.ts';
import { startProxy } from '../../main.ts';
import type { Domain } from '../../policy/domain-map.ts';
import { newSecret } from '../agent/add.ts';
import { ensureRunAgent, runAgent } from '../agent/bindings.ts';
import { atCommandLine, type Context } from '../context.ts';
import { proxyUrl } from '../format.ts';
import { type HeldLease, holdLease } from './lease.ts';

/** Whose lease a command gets, and for what. */
export interface LeaseSettings {
  /** Null: the agent of `sidekey run`. */
  readonly agent: string | null;
  /** Null: whatever the agent reaches. */
  readonly grants: readonly string[] | null;
  readonly purpose: string;
  /** Milliseconds since the epoch; null: with the command. */
  readonly endsAt: number | null;
}

/** A proxy inside this process, on a port of its own, and a lease for whoever comes through it. */
export async function openOwnProxy(
  { config: loadConfig, env, now }: Pick<Context, 'config' | 'env' | 'now'>,
  { own, lease: wanted }: { readonly own: OwnSettings; readonly lease: LeaseSettings },
  log: Log,
): Promise<Way> {
  const agent = wanted.agent ?? runAgent;
  const secret = newSecret('lease');
  const origin = atCommandLine(env);
  const proxy = await startProxy(await loadConfig(), {
    log,
    now,
    env,
    origin,
    isTrustedPeer: isOwnUser,
    adapt: (config) => ownConfig(config, own),
    // Some programs cannot be given credentials for a proxy by their environment.
    assumed: { agent, tokenHash: hashToken(secret) },
  });
  try {
    const state = { ...proxy.state, audit: withOrigin(proxy.state.audit, origin) };
    if (wanted.agent === null) await ensureRunAgent(state, now());
    const { grants, purpose, endsAt } = wanted;
    const lease = await holdLease(
      { state, config: () => proxy.config(), log, now, timers: systemTimers },
      { agent, grants, purpose, secret },
      endsAt,
    );
    return {
      proxy: { ...proxy.address, url: proxyUrl(proxy.address, `${agent}:${secret}`) },
      authorityPem: proxy.authority.certificatePem,
      config: () => proxy.config(),
      lease,
      node: proxy.state.audit.node,
      async close() {
        try {
          await lease.end();
        } finally {
          await proxy.close();
        }
      },
    };
  } catch (error) {
    await proxy.close();
    throw error;
  }
}

/** A log while the terminal is somebody else's. */
export interface KeptLog {
  readonly log: Log;
  /** What was worth a warning, each once, in the order in which it came first: for the end. */
  warnings(): readonly string[];
  close(): void;
}

/** No more are kept: a log that says so much is to be read in a file. */
const mostKept = 5;

/**
 * Keeps warnings and errors. With a file, every line goes there, as JSON.
 *
 * @throws SidekeyError `file_unwritable`
 */
export function keepLog(level: Parameters<typeof createLog>[0], file: string | undefined): KeptLog {
  const opened = file === undefined ? null : openFile(file, level);
  const counts = new Map<string, number>();
  const keep = (message: string) => {
    if (counts.has(message) || counts.size < mostKept) counts.set(message, (counts.get(message) ?? 0) + 1);
  };
  const log: Log = {
    error(fields, message) {
      keep(message);
      opened?.log.error(fields, message);
    },
    warn(fields, message) {
      keep(message);
      opened?.log.warn(fields, message);
    },
    info: (fields, message) => opened?.log.info(fields, message),
    debug: (fields, message) => opened?.log.debug(fields, message),
  };
  return {
    log,
    warnings: () =>
      Array.from(counts, ([message, count]) => (count === 1 ? message : `${message} (${count} times)`)),
    close: () => opened?.close(),
  };
}

function openFile(file: string, level: Parameters<typeof createLog>[0]) {
  try {
    const fd = openSync(file, 'a', 0o600);
    const log = createLog(level, { write: (line) => void writeSync(fd, line) });
    return { log, close: () => closeSync(fd) };
  } catch (cause) {
    throw new SidekeyError('file_unwritable', `The log ${file} cannot be written (${systemCode(cause)}).`, {
      hint: `name a file in a folder of yours: --log ${shellWord('./sidekey.log')}`,
      cause,
    });
  }
}

/** What a run has in its own way. */
interface OwnSettings {
  readonly unmatched: Config['proxy']['unmatched'];
  /** Names of policies that every request with a credential has to pass besides the rules of its domain. */
  readonly policies: readonly string[];
}

/**
 * The config as a proxy of its own has it that serves one command, beside whatever else runs: any port that is free, one
 * process, nothing on standard output, which is the command's.
 *
 * @throws SidekeyError `input_invalid` for a policy that is not there
 */
function ownConfig(config: Config, { unmatched, policies }: OwnSettings): Config {
  const anyPort = { host: '127.0.0.1', port: 0 };
  return {
    ...config,
    proxy: { ...config.proxy, listen: anyPort, unmatched },
    workers: 1,
    // Only the webhook tells anybody where the pages are.
    admin: { ...config.admin, listen: config.approvals.webhook === null ? null : anyPort },
    audit: { ...config.audit, sinks: config.audit.sinks.filter(({ type }) => type !== 'stdout') },
    // When the command has ended nobody is left to wait for.
    limits: { ...config.limits, drain: 0 },
    domains: config.domains.map((domain) => withPolicies(domain, policies, config.policies)),
  };
}

function withPolicies(domain: Domain, names: readonly string[], policies: Policies): Domain {
  const besides = names.map((name) => {
    const rules = policies.besides(name, domain.pattern);
    if (rules === null) throw unknownPolicy(name, policies.names);
    return rules;
  });
  return domain.action.kind !== 'grant' || besides.length === 0 ? domain : { ...domain, besides };
}

function unknownPolicy(name: string, known: readonly string[]): SidekeyError {
  const near = didYouMean(name, known);
  return new SidekeyError(
    'input_invalid',
    `The config has no policy of that name${near === null ? '' : `; did you mean ${near}?`}${near === null ? '.' : ''}`,
    { hint: known.length === 0 ? 'add it under policies in the config file' : `one of ${known.join(', ')}` },
  );
}

/** How a command reaches the services. */
export interface Way {
  /** What the command is told; the URL has its token. */
  readonly proxy: { readonly url: string; readonly host: string; readonly port: number };
  /** PEM of the CA that it is to trust. */
  readonly authorityPem: string;
  /** What is in force at that moment. */
  readonly config: () => Config;
  /** Null: the URL came with a token of its own, and this process makes no right. */
  readonly lease: HeldLease | null;
  /** The writer of the audit file that writes for this command alone; null: others come through the proxy too. */
  readonly node: string | null;
  /** Ends the lease first, then what serves. Idempotent. */
  close(): Promise<void>;
}
