import { openAuthority, type CertificateAuthority } from './ca/authority.ts';
import { createLeafCache } from './ca/leaf-cache.ts';
import type { Config } from './config/config.ts';
import { loadConfig } from './config/load.ts';
import { watchConfig } from './config/watch.ts';
import { SidekeyError } from './errors.ts';
import type { InjectPlan } from './grants/provider.ts';
import { createTokenSource } from './grants/token-source.ts';
import { createFingerprint } from './inject/fingerprint.ts';
import type { Log } from './log.ts';
import { createDomainMap } from './policy/domain-map.ts';
import { createAgentRegister } from './proxy/agent.ts';
import { createListener } from './proxy/listener.ts';
import type { Settings } from './proxy/rooms.ts';
import { refreshParts } from './refresh-parts.ts';
import { openState, type State } from './state.ts';
import { createExit, type Exit } from './upstream/exit.ts';

/** A proxy that serves. */
export interface Proxy {
  readonly address: { readonly host: string; readonly port: number };
  readonly state: State;
  readonly authority: CertificateAuthority;
  /** What is in force: the last config that was good. */
  config(): Config;
  /** Reads the config file anew. One that is not good changes nothing, and is said in the log and the audit. */
  reload(): Promise<void>;
  /** Takes no more, lets what is under way end, and closes everything in reverse. Idempotent. */
  close(): Promise<void>;
}

/** What the proxy is given from outside. */
export interface ProxyParts {
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Where `env:` references look. */
  readonly env: NodeJS.ProcessEnv;
}

/**
 * The composition root: the one place where the concrete parts meet.
 *
 * @throws SidekeyError for whatever cannot be opened or listened on; nothing stays open then
 */
export async function startProxy(initial: Config, parts: ProxyParts): Promise<Proxy> {
  const opened = new AsyncDisposableStack();
  try {
    return await compose(initial, parts, opened);
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

async function compose(initial: Config, parts: ProxyParts, opened: AsyncDisposableStack): Promise<Proxy> {
  const { log, now, env } = parts;
  const state = opened.adopt(await openState(initial, { log, now }), (it) => it.close());
  const { store, vault, grants, audit } = state;
  let serving = false;
  opened.defer(() => (serving ? audit.append({ event: 'proxy.stopped' }) : undefined));
  const authority = await openAuthority({
    directory: initial.ca.directory,
    permittedNames: initial.ca.permittedNames,
    vault,
    now,
    onCreate: ({ name }) => audit.append({ event: 'ca.created', reason: name }),
  });

  let ownPort: number | null = null;
  let config = initial;
  let exit: Exit = openExit(config, () => ownPort);
  /** Exits of configs that were replaced, while exchanges still use them. */
  const leaving = new Set<Promise<void>>();
  opened.defer(async () => {
    await Promise.all([exit.close(), ...leaving]);
  });
  let settings = settingsOf(config, exit);

  const tokens = opened.adopt(
    createTokenSource({
      ...refreshParts(state, { config: () => config, fetch: () => exit.fetch, now }),
      logger: log,
    }),
    (it) => it.close(),
  );
  const leaves = createLeafCache({ authority: () => authority, now });
  const listener = opened.adopt(
    createListener(
      {
        settings: () => settings,
        agents: createAgentRegister(store),
        grants,
        tokens,
        audit,
        fingerprint: createFingerprint((secret) => vault.mac('credential-fingerprint', secret)),
        leafFor: (host) => leaves.secureContextFor(host),
        log,
        now,
      },
      config.limits,
    ),
    (it) => it.close(config.limits.drain),
  );
  const { host, port } = config.proxy.listen;
  const address = await listener.listen(host, port);
  ownPort = address.port;

  async function takeOver(): Promise<void> {
    try {
      const next = await loadConfig(config.file, { env });
      const replaced = exit;
      const nextExit = sameExit(config, next) ? exit : openExit(next, () => ownPort);
      [config, exit, settings] = [next, nextExit, settingsOf(next, nextExit)];
      if (replaced !== nextExit) leave(replaced);
      listener.recheck();
      audit.note({ event: 'config.reloaded' });
      log.info({ file: config.file, later: laterKeys(initial, next) }, 'the config was reloaded');
    } catch (error) {
      const code = error instanceof SidekeyError ? error.code : 'internal';
      audit.note({ event: 'config.rejected', code });
      log.warn({ file: config.file, code, err: error }, 'the config stays as it was');
    }
  }
  /** An exchange goes on with the settings it began with; their exit closes when the last of them has ended. */
  function leave(replaced: Exit): void {
    const left = listener.underWay().then(() => replaced.close());
    leaving.add(left);
    void left.finally(() => leaving.delete(left));
  }
  /** One at a time: what was read first must not come into force last. */
  let reloading = Promise.resolve();
  const reload = () => (reloading = reloading.then(takeOver));
  // A reload under way still opens an exit, which closes with the rest.
  opened.defer(() => reloading);
  const watch = await watchConfig(config.file, {
    onChange: () => void reload(),
    onError: (error) =>
      log.warn({ file: config.file, problem: error.message }, 'the config file is not watched'),
  });
  opened.defer(() => watch.close());
  // What was written to the file while the proxy started is no change to the watch.
  const again = await loadConfig(config.file, { env }).catch(() => null);
  if (again === null || textOf(again) !== textOf(config)) await reload();
  await audit.append({ event: 'proxy.started', host: address.address, port: address.port });
  serving = true;

  let closing: Promise<void> | undefined;
  return {
    address: { host: address.address, port: address.port },
    state,
    authority,
    config: () => config,
    reload,
    close: () => (closing ??= opened.disposeAsync()),
  };
}

/** A config as a text, to be compared. Functions, which read secrets when they are asked, do not count. */
function textOf(config: Config): string {
  return JSON.stringify(config, (_key, value: unknown) => (value instanceof Map ? [...value] : value));
}

function openExit({ upstream, limits }: Config, ownPort: () => number | null): Exit {
  return createExit({ ...upstream, limits, ownPort });
}

/** Whether connections made under one config may serve under the other. */
function sameExit(a: Config, b: Config): boolean {
  // A file of trust anchors can change under the same name: then the path says nothing.
  return a.upstream.ca.length === 0 && exitFacts(a) === exitFacts(b);
}

function exitFacts({ upstream, limits }: Config): string {
  return JSON.stringify([upstream.ca, [...upstream.resolve], upstream.privateAddresses, limits]);
}

/** For a grant whose provider is no longer defined. One object, because plans are remembered by identity. */
const bearer: InjectPlan = { kind: 'bearer' };

function settingsOf({ proxy, domains, limits, providers }: Config, { dialer, pool }: Exit): Settings {
  return {
    policy: { domains: createDomainMap(domains), unmatched: proxy.unmatched },
    agents: proxy.agents,
    limits,
    dialer,
    pool,
    injectPlan: (provider) => providers.get(provider)?.inject ?? bearer,
  };
}

/** The keys that a reload does not reach: they act at the next start. */
function laterKeys(running: Config, next: Config): string[] {
  const now = startFacts(running);
  const then = startFacts(next);
  return (Object.keys(now) as (keyof typeof now)[]).filter(
    (key) => JSON.stringify(now[key]) !== JSON.stringify(then[key]),
  );
}

function startFacts({ proxy, store, key, ca, audit, tokens }: Config) {
  return { 'proxy.listen': proxy.listen, store, key, ca, audit, tokens };
}
