import fs from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import type { AuditLog } from '../domain/event.ts';
import { otlpSink, post, signature, webhookSink } from '../audit/export/http.ts';
import {
  type Shipping,
  type Sink,
  type SinkTransports,
  startShipping,
  stdoutSink,
} from '../audit/export/sink.ts';
import { syslogSink } from '../audit/export/syslog.ts';
import type { AuditVault } from '../audit/live-file.ts';
import { freeBytes } from '../audit/log-files.ts';
import { indexRotated, packRotated, removeExpired } from '../audit/retention.ts';
import { takeAnchor } from '../audit/sealed-heads.ts';
import type { AnchorConfig, AuditConfig, SinkConfig } from '../config/audit.ts';
import { readSecret, type SecretReference } from '../config/secret-reference.ts';
import type { Log } from '../lib/log.ts';
import type { Timers } from '../lib/timers.ts';
import { connectLocal, type UpstreamClient } from '../proxy/upstream/client.ts';

interface UpkeepParts extends Omit<SinkParts, 'file'> {
  readonly config: AuditConfig;
  readonly vault: AuditVault;
  readonly audit: Pick<AuditLog, 'append'>;
}

/** Milliseconds between runs of packing and retention. */
const upkeepMs = 60_000;
const anchorTimeoutMs = 30_000;

/** Packs or removes rotated files, ships lines, writes anchors. Retries failures. Blocks no request. */
export function startAuditUpkeep(parts: UpkeepParts) {
  const { timers } = parts;
  let { config } = parts;
  const sinks = new Map<string, RunningSink>();
  /** Replaced sinks and anchors that are closing. */
  const leaving = new Set<Promise<void>>();
  let anchoring: RunningAnchor | undefined;

  function leave(ending: Promise<void>): Promise<void> {
    const left = ending.finally(() => leaving.delete(left));
    leaving.add(left);
    return left;
  }

  function shipTo(wanted: readonly SinkConfig[]): void {
    const stays = new Set(wanted.map(factsOf));
    const ended = new Map<string, Promise<void>>();
    for (const [name, { facts, close }] of sinks) {
      if (stays.has(facts)) continue;
      ended.set(name, leave(close()));
      sinks.delete(name);
    }
    for (const sink of wanted) {
      if (!sinks.has(sink.name))
        sinks.set(sink.name, beginSink(sink, { ...parts, file: config.file }, ended.get(sink.name)));
    }
  }

  function anchorAs(wanted: AnchorConfig | null): void {
    if (anchoring?.facts === factsOf(wanted)) return;
    if (anchoring !== undefined) void leave(anchoring.stop());
    anchoring = wanted === null ? undefined : beginAnchoring(wanted, parts);
  }

  shipTo(config.sinks);
  anchorAs(config.anchor);
  const warnOfDisk = diskWarning(parts.log);
  const stopTending = repeat(timers, upkeepMs, async (signal) => {
    warnOfDisk(config);
    await tend({ ...parts, config }, signal);
  });
  return {
    /** Applies new settings except the file. A changed sink resumes where its namesake stopped. */
    reconfigure(next: AuditConfig): void {
      config = { ...next, file: config.file };
      shipTo(next.sinks);
      anchorAs(next.anchor);
    },
    /** Delivers the remaining lines for at most 3 seconds, and stops. */
    async close(): Promise<void> {
      await Promise.all([stopTending(), anchoring?.stop()]);
      await Promise.all([...Array.from(sinks.values(), ({ close }) => close()), ...leaving]);
    },
  };
}

type RunningAnchor = ReturnType<typeof beginAnchoring>;

function beginAnchoring(config: AnchorConfig, parts: UpkeepParts) {
  return { facts: factsOf(config), stop: repeat(parts.timers, config.everyMs, anchorOnce(config, parts)) };
}

/** Runs `work` now and `everyMs` milliseconds after each end. The result stops it and waits for its end. */
function repeat(
  timers: UpkeepParts['timers'],
  everyMs: number,
  work: (signal: AbortSignal) => Promise<void>,
): () => Promise<void> {
  const stop = new AbortController();
  let cancel: (() => void) | undefined;
  let underWay = Promise.resolve();
  const run = () => {
    underWay = work(stop.signal).then(() => {
      if (!stop.signal.aborted) cancel = timers.after(everyMs, run);
    });
  };
  run();
  return () => {
    stop.abort();
    cancel?.();
    return underWay;
  };
}

/** Warns once when the disk of the log is nearly full. Logs when space is free again. */
function diskWarning(log: UpkeepParts['log']): (config: AuditConfig) => void {
  let warned = false;
  return ({ file, warnFreeBytes }) => {
    const free = freeBytes(file);
    if (free === null || free < warnFreeBytes === warned) return;
    warned = !warned;
    if (warned) {
      log.warn(
        { file, free, warnFreeBytes },
        'little space is left on the disk of the audit log: when it is full, requests are refused with audit_unavailable',
      );
    } else log.info({ file, free }, 'there is space on the disk of the audit log again');
  };
}

/** Packs and removes files once. Never rejects. */
async function tend({ config, vault, audit, log, now }: UpkeepParts, signal: AbortSignal): Promise<void> {
  const { file, compress, keepMs, keepFiles, keepBytes } = config;
  try {
    const limits = { keepMs, keepFiles, keepBytes };
    const removed = await removeExpired({ file, vault, audit, ...limits, now: now(), signal });
    if (removed > 0) log.info({ file, removed, ...limits }, 'audit files were removed, as audit.keep says');
  } catch (error) {
    if (signal.aborted) return;
    log.warn({ file, err: error }, 'old audit files could not be removed');
  }
  try {
    await indexRotated(file, now(), signal);
    if (compress) await packRotated(file, now(), signal);
  } catch (error) {
    if (signal.aborted) return;
    log.warn({ file, err: error }, 'rotated audit files could not be indexed or compressed');
  }
}

/** Writes an anchor to the configured places, unless the chains are unchanged. Never rejects. */
function anchorOnce(anchor: AnchorConfig, parts: UpkeepParts): () => Promise<void> {
  const { config, vault, upstream, log, now, timers } = parts;
  let last = '';
  return async () => {
    try {
      const { text, chains } = takeAnchor(config.file, vault, now());
      const state = JSON.stringify(chains);
      if (state === last) return;
      if (anchor.file !== null) await appendDurably(anchor.file, `${text}\n`);
      if (anchor.webhook !== null) {
        const { url, secret } = anchor.webhook;
        const body = `${text}\n`;
        const signed =
          secret === undefined ? {} : signature(body, await readSinkSecret(secret, parts), now());
        const headers = { 'content-type': 'application/x-ndjson', ...signed };
        const late = new AbortController();
        const cancel = timers.after(anchorTimeoutMs, () => late.abort());
        await post(
          { url, headers, body },
          { fetch: upstream().fetch, signal: late.signal, now: now() },
        ).finally(cancel);
      }
      last = state;
    } catch (error) {
      log.warn({ err: error }, 'the audit log could not be anchored');
    }
  };
}

async function appendDurably(file: string, text: string): Promise<void> {
  await using handle = await fs.promises.open(file, 'a', 0o600);
  await handle.write(text);
  await handle.sync();
}

/** Output of the stdout sink. */
export interface StandardOutput {
  write(text: string, written: (error?: Error | null) => void): unknown;
}

interface SinkParts {
  readonly file: string;
  /** Config file. Paths and commands of secret references are relative to its folder. */
  readonly configFile: string;
  /** Upstream client in force. */
  readonly upstream: () => Pick<UpstreamClient, 'fetch' | 'dialer' | 'datagrams'>;
  readonly log: Log;
  readonly now: () => number;
  readonly timers: Timers;
  /** Environment of `env:` references. */
  readonly env: NodeJS.ProcessEnv;
  /** Default: `process.stdout`. */
  readonly stdout?: StandardOutput | undefined;
}

/** Milliseconds that a closing sink has for the last lines. */
const closeTimeoutMs = 3_000;

type RunningSink = ReturnType<typeof beginSink>;

/** Serializes settings to compare them. */
function factsOf(config: object | null): string {
  return JSON.stringify(config);
}

/** @param after end of the predecessor: two sinks must not deliver the same lines */
function beginSink(config: SinkConfig, parts: SinkParts, after: Promise<void> | undefined) {
  let closing: Promise<void> | undefined;
  let shipping = after === undefined ? startSink(config, parts) : undefined;
  const begun = after?.then(() => {
    if (closing === undefined) shipping = startSink(config, parts);
  });
  const close = async () => {
    await begun;
    await shipping?.close(closeTimeoutMs);
  };
  return {
    /** Settings in the form of `factsOf`. */
    facts: factsOf(config),
    /** Delivers the remaining lines for at most 3 seconds. Idempotent. */
    close: () => (closing ??= close()),
  };
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
  const transports = () => sinkTransports(parts);
  const { now } = parts;
  switch (config.type) {
    case 'stdout':
      return stdoutSink(transports);
    case 'syslog':
      return syslogSink({ ...config, transports });
    case 'webhook': {
      const { url, secret } = config;
      return webhookSink({ url, secret: secret && (() => readSinkSecret(secret, parts)), transports, now });
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
      return otlpSink({ url: config.url, headers, transports, now, rejected });
    }
  }
}

/** @throws SidekeyError as `readSecret` */
function readSinkSecret(
  reference: SecretReference,
  { env, configFile }: Pick<SinkParts, 'env' | 'configFile'>,
): Promise<string> {
  return readSecret(reference, { env, cwd: dirname(configFile), where: 'audit' });
}

/** A Unix-domain socket has no address to check. The upstream client makes all other connections. */
function sinkTransports({ upstream, stdout = process.stdout }: SinkParts): SinkTransports {
  const { fetch, dialer, datagrams } = upstream();
  return {
    fetch,
    connect: (host, port, tls) =>
      tls ? dialer.connect({ scheme: 'https', host, port }) : dialer.connect({ scheme: 'http', host, port }),
    openDatagrams: datagrams,
    connectLocal,
    writeStdout: promisify(
      (text: string, written: (error?: Error | null) => void) => void stdout.write(text, written),
    ),
  };
}
