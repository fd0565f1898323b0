import type { CertificateAuthority } from '../ca/authority.ts';
import type { Config } from '../config/config.ts';
import type { Listener } from '../proxy/listener.ts';
import { exactHosts } from '../proxy/policy/domain-map.ts';
import type { Figure } from '../proxy/telemetry/figures.ts';
import { openAdministration } from './administration.ts';
import { laterKeys, shortDigest } from './config-in-force.ts';
import { type Core, openCore, openCredentials, type ProxyParts } from './core.ts';
import { type Certificates, openCertificates, openListener, soon } from './listener.ts';
import { tuneGarbageCollection } from './machine.ts';
import type { State } from './state.ts';
import { startUpkeep } from './upkeep.ts';

/** A running proxy. */
export interface Proxy {
  readonly address: { readonly host: string; readonly port: number };
  /** Base URL of the approval pages; null: people answer only in a terminal. */
  readonly pages: string | null;
  readonly state: State;
  readonly authority: CertificateAuthority;
  /** Config in force: the last valid one. */
  readonly config: () => Config;
  /** Returns the figures of this process, not those of its workers. */
  figures(): Promise<readonly Figure[]>;
  /** Reloads the config file. An invalid file changes nothing and is recorded in the log and the audit. */
  reload(): Promise<void>;
  /** Stops accepting, drains exchanges, and closes all parts in reverse order. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts a proxy. The composition root, which creates and connects the parts.
 *
 * @throws SidekeyError if a part cannot open or listen; all opened parts are closed then
 */
export async function startProxy(config: Config, parts: ProxyParts): Promise<Proxy> {
  const opened = new AsyncDisposableStack();
  try {
    return await compose(config, parts, opened);
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

/** Opens the parts. Each stage uses those before it, and all close in reverse order. */
async function compose(config: Config, parts: ProxyParts, opened: AsyncDisposableStack): Promise<Proxy> {
  const core = await openCore(config, parts, opened);
  const { state, authority, current } = core;
  const { audit } = state;
  const upkeep = parts.worker === undefined ? startUpkeep(state, current, parts, opened) : null;
  let serving = false;
  // Before the sinks close, so that they deliver the event.
  opened.defer(() => (serving ? audit.append({ event: 'proxy.stopped' }) : undefined));
  const credentials = await openCredentials(core);
  const administration = await openAdministration(core, credentials);
  const certificates = openCertificates(core);
  followConfig(core, (next) => {
    certificates.ahead.prepare(exactHosts(next.domains));
    credentials.schedule?.look();
    audit.adjust(next.audit);
    upkeep?.reconfigure(next.audit);
  });
  const listener = await openListener(core, credentials, administration, certificates);
  const address = await listen(core, listener);
  if (parts.worker === undefined) {
    const reason = `config ${shortDigest(current.config())}`;
    await audit.append({ event: 'proxy.started', ...address, reason, ...parts.origin });
    serving = true;
  }
  prepareHosts(core, certificates);
  tuneGarbageCollection();

  let closing: Promise<void> | undefined;
  return {
    address,
    pages: administration.approvals.url,
    state,
    authority: authority.current(),
    config: current.config,
    figures: administration.metrics.own,
    reload: () => current.reload(),
    close: () => (closing ??= opened.disposeAsync()),
  };
}

/** Follows the config. Edits are recorded, and each config that takes effect is passed to `tookOver`. */
function followConfig(
  { initial, parts, late, current, configEvents }: Core,
  tookOver: (next: Config) => void,
): void {
  const { log, worker } = parts;
  current.follow({
    tookOver(next) {
      late.listener?.recheck();
      tookOver(next);
    },
    record(event, details) {
      if (worker !== undefined) {
        worker.config(event);
        return;
      }
      configEvents.own(event);
      const { file } = initial;
      if ('next' in details)
        log.info({ file, later: laterKeys(initial, details.next) }, 'the config was reloaded');
      else log.warn({ file, code: event.code, err: details.err }, 'the config stays as it was');
    },
    underWay: async () => late.listener?.underWay(),
  });
}

/** Accepts connections, then watches the config file. */
async function listen(
  { parts, opened, late, ownPorts, current }: Core,
  listener: Listener,
): Promise<Proxy['address']> {
  const { host, port } = current.config().proxy.listen;
  const bound = await listener.listen(host, port, parts.worker?.socket ?? (await parts.socket) ?? undefined);
  const address = { host: bound.address, port: bound.port };
  ownPorts.push(address.port);
  late.address.resolve(address);
  // A pending reload may still open an upstream client, which closes with the others.
  opened.defer(() => current.idle());
  const watch = await current.watch();
  opened.defer(() => watch.close());
  await current.catchUp();
  return address;
}

/** Creates the leaves of listed hosts before their first request, and opens a connection to the first. */
function prepareHosts({ parts, opened, current }: Core, { ahead }: Certificates): void {
  const hosts = exactHosts(current.config().domains);
  ahead.prepare(hosts);
  const [first] = hosts;
  if (parts.supervisor === undefined && first !== undefined)
    opened.defer(soon(() => current.upstream().prepare({ scheme: 'https', host: first, port: 443 })));
}
