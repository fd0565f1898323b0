import { dirname } from 'node:path';
import { otlpSink } from './audit/sinks/otlp.ts';
import { startShipping, type Shipping, type SinkTimers } from './audit/sinks/ship.ts';
import type { Sink, SinkExits } from './audit/sinks/sink.ts';
import { stdoutSink } from './audit/sinks/stdout.ts';
import { syslogSink } from './audit/sinks/syslog.ts';
import { webhookSink } from './audit/sinks/webhook.ts';
import type { SinkConfig } from './config/audit-settings.ts';
import { readSecret, type SecretReference } from './config/secret-reference.ts';
import type { Log } from './log.ts';
import { connectLocal } from './upstream/local-socket.ts';
import type { Exit } from './upstream/exit.ts';

/** What the stdout sink writes to. */
export interface StandardOutput {
  write(text: string, written: (error?: Error | null) => void): unknown;
}

/** What sinks and anchors go out with. */
export interface SinkParts {
  /** The audit file. */
  readonly file: string;
  /** Where paths and commands of references to secrets are relative to. */
  readonly configFile: string;
  /** The way out at that moment. */
  readonly exit: () => Pick<Exit, 'fetch' | 'dialer' | 'datagrams'>;
  readonly log: Log;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: SinkTimers;
  /** Where `env:` references look. */
  readonly env: NodeJS.ProcessEnv;
  /** Default: that of the process. */
  readonly stdout?: StandardOutput | undefined;
}

/** Milliseconds that sinks have to take the last lines when they end. */
const lastPatience = 3_000;

/** A sink that is shipped to. */
export interface RunningSink {
  /** Its settings, as `factsOf` tells them. */
  readonly facts: string;
  /** Delivers what is in the log, for some seconds at most. Idempotent. */
  readonly close: () => Promise<void>;
}

/** What tells one part of the settings from another. */
export function factsOf(config: object | null): string {
  return JSON.stringify(config);
}

/**
 * Begins to ship.
 *
 * @param after the end of the one that it takes the place of: two must not deliver the same lines
 */
export function beginSink(
  config: SinkConfig,
  parts: SinkParts,
  after: Promise<void> | undefined,
): RunningSink {
  let closing: Promise<void> | undefined;
  let shipping = after === undefined ? startSink(config, parts) : undefined;
  const begun = after?.then(() => {
    if (closing === undefined) shipping = startSink(config, parts);
  });
  const close = async () => {
    await begun;
    await shipping?.close(lastPatience);
  };
  return { facts: factsOf(config), close: () => (closing ??= close()) };
}

function startSink(config: SinkConfig, parts: SinkParts): Shipping {
  const shipping: Shipping = startShipping({
    file: parts.file,
    name: config.name,
    sink: openSink(config, parts, (count) => shipping.rejected(count)),
    batchLines: 'batch' in config ? config.batch : 500,
    now: parts.now,
    timers: parts.timers,
    logger: parts.log,
    random: Math.random,
  });
  return shipping;
}

function openSink(config: SinkConfig, parts: SinkParts, rejected: (count: number) => void): Sink {
  const exits = () => exitsOf(parts);
  const { now } = parts;
  switch (config.type) {
    case 'stdout':
      return stdoutSink(exits);
    case 'syslog':
      return syslogSink({ ...config, exits });
    case 'webhook': {
      const { url, secret } = config;
      return webhookSink({ url, secret: secret && (() => readSinkSecret(secret, parts)), exits, now });
    }
    case 'otlp': {
      const headers = async () =>
        Object.fromEntries(
          await Promise.all(
            Object.entries(config.headers).map(
              async ([name, reference]) => [name, await readSinkSecret(reference, parts)] as const,
            ),
          ),
        );
      return otlpSink({ url: config.url, headers, exits, now, rejected });
    }
  }
}

/** @throws SidekeyError as `readSecret` */
export function readSinkSecret(
  reference: SecretReference,
  { env, configFile }: Pick<SinkParts, 'env' | 'configFile'>,
): Promise<string> {
  return readSecret(reference, { env, cwd: dirname(configFile), where: 'audit' });
}

/** Every connection is made by the exit, but for that to a path of this machine, which has no address to be checked. */
function exitsOf({ exit, stdout = process.stdout }: SinkParts): SinkExits {
  const { fetch, dialer, datagrams } = exit();
  return {
    fetch,
    connect: (host, port, tls) =>
      tls ? dialer.connect({ scheme: 'https', host, port }) : dialer.connect({ scheme: 'http', host, port }),
    openDatagrams: datagrams,
    connectLocal,
    writeStdout: (text) =>
      new Promise((resolve, reject) => {
        stdout.write(text, (error) => {
          if (error === undefined || error === null) resolve();
          else reject(error);
        });
      }),
  };
}
