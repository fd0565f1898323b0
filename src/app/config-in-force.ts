import type { AuditEvent } from '../domain/event.ts';
import type { Config } from '../config/config.ts';
import { digestOf, readConfigText } from '../config/load.ts';
import { summaryOf } from '../config/problem.ts';
import { followConfig, watchConfig } from '../config/reload.ts';
import { SidekeyError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { type ConfigSnapshot, snapshotOf } from '../proxy/services.ts';
import type { UpstreamClient } from '../proxy/upstream/client.ts';

interface ConfigParts {
  /** Loads the config file. @throws SidekeyError if it is invalid */
  readonly load: () => Promise<Config>;
  /** Opens the client of a config; returns `before` if it would be the same. */
  readonly openClient: (config: Config, before: UpstreamClient) => Promise<UpstreamClient>;
  readonly log: Log;
}

/** Receiver of the changes of the config. */
interface ConfigUser {
  /** Called when a config has replaced the one before. A throw rejects it. */
  tookOver(next: Config): void;
  /** Records a change or a rejected edit. `details` are for the log. */
  record(event: AuditEvent, details: { readonly next: Config } | { readonly err: unknown }): void;
  /** Resolves when the exchanges that are under way now have ended. */
  underWay(): Promise<void>;
}

/** The last valid config of a running proxy, with the upstream client and the snapshot made of it. */
export class ConfigInForce {
  readonly #file: string;
  readonly #parts: ConfigParts;
  #config: Config;
  #upstream: UpstreamClient;
  #settings: ConfigSnapshot;
  #isRejected = false;
  #followed!: ReturnType<typeof followConfig>;
  #user!: ConfigUser;
  /** Replaced upstream clients that exchanges still use. */
  readonly #closing = new Set<Promise<void>>();

  constructor(config: Config, upstream: UpstreamClient, parts: ConfigParts) {
    this.#file = config.file;
    this.#parts = parts;
    this.#config = config;
    this.#upstream = upstream;
    this.#settings = snapshotOf(config, upstream);
  }

  readonly config = (): Config => this.#config;
  readonly upstream = (): UpstreamClient => this.#upstream;
  readonly settings = (): ConfigSnapshot => this.#settings;
  /** Returns the guarded `fetch` of the upstream client. */
  readonly fetch = (): typeof fetch => this.#upstream.fetch;
  /** Reports whether the last edit of the config file was invalid. */
  readonly isRejected = (): boolean => this.#isRejected;

  /** Returns the settings of the newest valid config: a promise only if the file has changed. */
  readonly newestSettings = (): ConfigSnapshot | Promise<ConfigSnapshot> => {
    const loading = this.#followed.newest();
    return loading === null ? this.#settings : loading.then(this.settings);
  };

  /** Returns the newest valid config, after a change of the file has been read. */
  readonly newest = async (): Promise<Config> => {
    await this.#followed.newest();
    return this.#config;
  };

  /** Begins to follow the file. Edits are noticed by the methods below, and by `watch`. */
  follow(user: ConfigUser): void {
    this.#user = user;
    this.#followed = followConfig(this.#file, () => this.#takeOver());
  }

  /** Loads the file if it has changed. */
  async check(): Promise<void> {
    await this.#followed.check();
  }

  /** Loads the file even if it has not changed. */
  async reload(): Promise<void> {
    await this.#followed.reload();
  }

  /** Resolves when no load is in progress. */
  async idle(): Promise<void> {
    await this.#followed.idle();
  }

  /** Watches the file, so that an edit ends what it forbids between requests, and is logged. */
  async watch(): Promise<{ close(): void }> {
    return watchConfig(this.#file, {
      onChange: () => void this.#followed.check(),
      onError: ({ message: problem }) =>
        this.#parts.log.warn({ file: this.#file, problem }, 'the config file is not watched'),
    });
  }

  /** Loads an edit made during the start, which the watch does not report. */
  async catchUp(): Promise<void> {
    const text = await readConfigText(this.#file).catch(() => null);
    if (text === null || digestOf(text) !== this.#config.digest) await this.#followed.reload();
  }

  async closeClients(): Promise<void> {
    await Promise.all([this.#upstream.close(), ...this.#closing]);
  }

  async #takeOver(): Promise<void> {
    try {
      const next = await this.#parts.load();
      const [before, replaced] = [this.#config, this.#upstream];
      const upstream = await this.#parts.openClient(next, replaced);
      this.#isRejected = false;
      [this.#config, this.#upstream, this.#settings] = [next, upstream, snapshotOf(next, upstream)];
      if (replaced !== upstream) this.#closeUnused(replaced);
      this.#user.tookOver(next);
      const reason = `config ${shortDigest(before)} → ${shortDigest(next)}`;
      this.#user.record({ event: 'config.reloaded', reason }, { next });
    } catch (error) {
      const code = error instanceof SidekeyError ? error.code : 'internal';
      this.#isRejected = true;
      this.#user.record({ event: 'config.rejected', code, reason: summaryOf(error) }, { err: error });
    }
  }

  /** Closes a replaced client when the exchanges that use it have ended. */
  #closeUnused(replaced: UpstreamClient): void {
    const closed = this.#user.underWay().then(() => replaced.close());
    this.#closing.add(closed);
    void closed.finally(() => this.#closing.delete(closed));
  }
}

/** Shortens a digest for log lines. */
export function shortDigest({ digest }: Config): string {
  return digest.slice(0, 12);
}

/** Returns the changed keys that take effect only at the next start. */
export function laterKeys(running: Config, next: Config): string[] {
  const now = startFacts(running);
  const then = startFacts(next);
  return (Object.keys(now) as (keyof typeof now)[]).filter(
    (key) => JSON.stringify(now[key]) !== JSON.stringify(then[key]),
  );
}

function startFacts({ proxy, workers, admin, store, key, ca, audit, tokens, telemetry, limits }: Config) {
  const { listen, url, tls } = admin;
  return {
    'proxy.listen': proxy.listen,
    'proxy.transparent': proxy.transparent,
    'proxy.tls': proxy.tls && [proxy.tls.files, ...proxy.tls.agents],
    'proxy.proxy_protocol': proxy.balancers,
    workers,
    admin: { listen, url, tls },
    store,
    key,
    ca,
    'audit.file': audit.file,
    tokens,
    telemetry,
    'limits.cached_grants': limits.cached_grants,
  };
}
