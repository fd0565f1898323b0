import fs from 'node:fs';
import { beginSink, factsOf, readSinkSecret, type RunningSink, type SinkParts } from './audit-sinks.ts';
import { takeAnchor } from './audit/anchor.ts';
import { freeBytes } from './audit/disk.ts';
import type { AuditVault } from './audit/head.ts';
import { packRotated } from './audit/pack.ts';
import { removeExpired } from './audit/retention.ts';
import { post } from './audit/sinks/post.ts';
import { signature } from './audit/sinks/webhook.ts';
import type { AuditLog } from './audit/event.ts';
import type { AnchorConfig, AuditConfig, SinkConfig } from './config/audit-settings.ts';

/** What the audit log is looked after with. */
export interface UpkeepParts extends Omit<SinkParts, 'file'> {
  readonly config: AuditConfig;
  readonly vault: AuditVault;
  readonly audit: Pick<AuditLog, 'append'>;
}

/** The log is being looked after. */
export interface Upkeep {
  /**
   * Goes on with other settings; the file stays the one that it was. A sink that stays as it was is not disturbed; one
   * of the same name goes on where the other was.
   */
  reconfigure(config: AuditConfig): void;
  /** Delivers what is in the log, for some seconds at most, and ends. */
  close(): Promise<void>;
}

/** Milliseconds between looks at what could be packed or removed. */
const lookEvery = 60_000;
const anchorTimeout = 30_000;

/**
 * What a running proxy does with the audit log besides writing it: packs rotated files, removes what need not be kept,
 * ships lines to sinks, keeps anchors. None of it holds up a request; what fails is tried again.
 */
export function startAuditUpkeep(parts: UpkeepParts): Upkeep {
  const { timers } = parts;
  let { config } = parts;
  const sinks = new Map<string, RunningSink>();
  /** Sinks and anchors of settings that were replaced, while they end. */
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
  const stopTending = repeat(timers, lookEvery, async (signal) => {
    warnOfDisk(config);
    await tend({ ...parts, config }, signal);
  });
  return {
    reconfigure(next) {
      config = { ...next, file: config.file };
      shipTo(next.sinks);
      anchorAs(next.anchor);
    },
    async close() {
      await Promise.all([stopTending(), anchoring?.stop()]);
      await Promise.all([...Array.from(sinks.values(), ({ close }) => close()), ...leaving]);
    },
  };
}

interface RunningAnchor {
  readonly facts: string;
  readonly stop: () => Promise<void>;
}

function beginAnchoring(config: AnchorConfig, parts: UpkeepParts): RunningAnchor {
  return {
    facts: factsOf(config),
    stop: repeat(parts.timers, config.everyMs, anchorOnce(config, parts)),
  };
}

/** Runs `work` now and `everyMs` milliseconds after it ended; answers what stops it and waits until it has stopped. */
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

/** Warns once when little space is left for the log, before requests have to be refused, and says when there is more again. */
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

/** Packs and removes once. Never rejects. */
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
    if (compress) await packRotated(file, now(), signal);
  } catch (error) {
    if (signal.aborted) return;
    log.warn({ file, err: error }, 'rotated audit files could not be compressed');
  }
}

/** Keeps an anchor wherever the config says, unless nothing was written since the last. Never rejects. */
function anchorOnce(anchor: AnchorConfig, parts: UpkeepParts): () => Promise<void> {
  const { config, vault, exit, log, now, timers } = parts;
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
        const cancel = timers.after(anchorTimeout, () => late.abort());
        await post({ url, headers, body }, { fetch: exit().fetch, signal: late.signal, now: now() }).finally(
          cancel,
        );
      }
      last = state;
    } catch (error) {
      log.warn({ err: error }, 'the audit log could not be anchored');
    }
  };
}

async function appendDurably(file: string, text: string): Promise<void> {
  const handle = await fs.promises.open(file, 'a', 0o600);
  try {
    await handle.write(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
