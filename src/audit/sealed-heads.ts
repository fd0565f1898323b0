/**
 * Sealed chain heads: how far the chains of a log were written or removed, signed with the master key. They
 * are in the store, in anchors (which the writer of the log cannot change) and in the retention record. With
 * the first two, `verifyAudit` finds a log that was removed, or restored together with its own head file.
 */
import fs from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { inputInvalid, isSystemError, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import type { AnchoredLine, Gap } from './chain.ts';
import { type AuditVault, headFile, logIdOf, readHeads, sealLine, unsealLine } from './live-file.ts';
import type { ChainHead } from './line.ts';
import { syncFolder } from './log-files.ts';
import type { Generation } from '../store/vault/vault.ts';

const linkFields = { seq: z.int().min(0), hash: z.string(), end: z.string().optional() };

export interface StoredHead {
  /** The id of the log, see `logIdOf`. */
  readonly log: string;
  readonly node: string;
  readonly seq: number;
  readonly sealed: Uint8Array;
}

/** A log, and its location when the head was stored. */
export interface LogPlace {
  readonly log: string;
  /** The name of the machine. */
  readonly host: string;
  /** Absolute. */
  readonly path: string;
}

/** A head in the store, opened. */
export interface OpenedHead extends LogPlace, ChainHead {
  readonly node: string;
  /** Time of the record: ISO 8601. */
  readonly time: string;
}

/** The part of the store that the log uses. */
export interface HeadStore {
  /** The path or address of the store, for messages. */
  readonly location: string;
  readonly auditHeads: {
    list(log?: string): Promise<StoredHead[]>;
    /** Stores the head, unless the store has a later one of this chain. */
    put(head: StoredHead): Promise<void>;
  };
}

export interface StoredHeads {
  readonly location: string;
  /** The last line of each node. */
  readonly heads: ReadonlyMap<string, OpenedHead>;
  /** Nodes whose head is not authentic. */
  readonly damaged: readonly string[];
}

const storedShape = z.object({
  v: z.literal(2),
  log: z.string(),
  host: z.string(),
  path: z.string(),
  node: z.string(),
  ...linkFields,
  time: z.string(),
});

/**
 * Reads the heads of the log with this id.
 * @throws SidekeyError of the store
 */
export async function readStoredHeads(
  store: HeadStore,
  log: string,
  vault: AuditVault,
): Promise<StoredHeads> {
  return opened(store, await store.auditHeads.list(log), vault);
}

/**
 * Reads the heads of all logs, by their ids.
 * @throws SidekeyError of the store
 */
export async function readAllHeads(
  store: HeadStore,
  vault: AuditVault,
): Promise<ReadonlyMap<string, StoredHeads>> {
  const rows = Map.groupBy(await store.auditHeads.list(), ({ log }) => log);
  return new Map(Array.from(rows, ([log, some]) => [log, opened(store, some, vault)]));
}

function opened(store: HeadStore, rows: readonly StoredHead[], vault: AuditVault): StoredHeads {
  const heads = new Map<string, OpenedHead>();
  const damaged: string[] = [];
  for (const { log, node, seq, sealed } of rows) {
    const unsealed = unsealLine(Buffer.from(sealed).toString(), 'audit-end', vault);
    const { success, data } = storedShape.safeParse(unsealed.kind === 'authentic' ? unsealed.value : null);
    if (success && data.log === log && data.node === node && data.seq === seq && seq > 0)
      heads.set(node, data);
    else damaged.push(node);
  }
  return { location: store.location, heads, damaged };
}

/** Stores the head of a chain. Its line must be durable: the log is then never behind the store. */
export async function storeHead(store: HeadStore, head: OpenedHead, vault: AuditVault): Promise<void> {
  const { log, host, path, node, seq, hash, end, time } = head;
  const sealed = sealLine({ v: 2, log, host, path, node, seq, hash, end, time }, 'audit-end', vault);
  await store.auditHeads.put({ log, node, seq, sealed: Buffer.from(sealed) });
}

/** Returns the `reason` of `audit.accepted`: the missing lines whose loss a person accepted. */
export function formatGap({ node, from, to }: Gap): string {
  return `Lines ${from} to ${to} of ${node} are gone.`;
}

/** Parses a reason of `formatGap`. */
export function parseGap(reason: string): Gap | undefined {
  const [, from, to, node] = /^Lines (\d+) to (\d+) of (\S+) are gone\.$/.exec(reason) ?? [];
  return node === undefined ? undefined : { node, from: Number(from), to: Number(to) };
}

/** The lines that anchors name, by node and number. */
export type Anchored = ReadonlyMap<string, ReadonlyMap<number, AnchoredLine>>;

type AnchoredChain = Pick<OpenedHead, 'log' | 'node' | 'seq' | 'hash'>;

/** An anchor: the chain heads of a log at one time. Its text is one line of JSON, without a newline. */
interface Anchor {
  readonly text: string;
  /** Time of the anchor: ISO 8601. */
  readonly time: string;
  readonly chains: readonly AnchoredChain[];
}

const anchorShape = z.object({
  v: z.literal(1),
  anchor: z.literal('sidekey-audit'),
  time: z.string(),
  chains: z.array(
    z.strictObject({
      /** The id of the log; absent: any. */
      log: z.string().optional(),
      node: z.string(),
      seq: z.int().min(1),
      hash: z.string(),
    }),
  ),
});

/**
 * Makes an anchor of the log.
 * @param now Milliseconds since the epoch.
 * @param others Heads of other logs.
 * @throws SidekeyError `audit_broken` if a head record was changed; `key_mismatch` for another master key.
 */
export function takeAnchor(
  file: string,
  vault: AuditVault,
  now: number,
  others: readonly AnchoredChain[] = [],
): Anchor {
  const records = readHeads(file, vault);
  const log = logIdOf(path.resolve(file), hostname(), records);
  const own = records.flatMap((record): AnchoredChain[] => {
    if (record.kind === 'other-key') throw otherKey(record.keyId, vault);
    if (record.kind === 'broken') {
      throw new SidekeyError('audit_broken', `A head record in ${headFile(file)} was changed.`, {
        hint: remedy('audit.verify'),
      });
    }
    if (record.kind === 'none' || record.head.seq === 0) return [];
    const { node, seq, hash } = record.head;
    return [{ log, node, seq, hash }];
  });
  const foreign = others.filter((each) => each.log !== log);
  const chains = [...own, ...foreign.map(({ log: id, node, seq, hash }) => ({ log: id, node, seq, hash }))];
  const time = new Date(now).toISOString();
  const text = sealLine({ v: 1, anchor: 'sidekey-audit', time, chains }, 'audit-anchor', vault);
  return { text, time, chains };
}

interface AnchoredHead extends Omit<AnchoredChain, 'log'> {
  /** The id of its log; absent: unknown. */
  readonly log?: string | undefined;
  /** Time of the anchor: ISO 8601. */
  readonly time: string;
}

/**
 * Parses anchors, one on each line; skips empty lines.
 * @throws SidekeyError `input_invalid` if a line is no anchor or was changed; `key_mismatch` if another
 * master key made it.
 */
export function parseAnchors(text: string, vault: AuditVault): AnchoredHead[] {
  const heads: AnchoredHead[] = [];
  let count = 0;
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '') continue;
    count += 1;
    const unsealed = unsealLine(line.trim(), 'audit-anchor', vault);
    if (unsealed.kind === 'other-key') throw otherKey(unsealed.keyId, vault);
    const read = anchorShape.safeParse(unsealed.kind === 'authentic' ? unsealed.value : null);
    if (!read.success) {
      throw new SidekeyError('input_invalid', `Line ${index + 1} is no anchor of this log, or was changed.`, {
        hint: hintOf`give the file that ${remedy('audit.anchor', { file: null })} wrote, unchanged`,
      });
    }
    const { time, chains } = read.data;
    for (const chain of chains) heads.push({ ...chain, time });
  }
  if (count > 0) return heads;
  throw inputInvalid('The input has no anchor.', remedy('audit.anchor', { file: 'audit-anchors.jsonl' }));
}

/** Returns the lines that anchors name; with an id, only those of this log. */
export function anchoredLines(heads: readonly AnchoredHead[], id?: string): Anchored {
  const anchored = new Map<string, Map<number, AnchoredLine>>();
  for (const { log = id, node, seq, hash, time } of heads) {
    if (id !== undefined && log !== id) continue;
    const lines = anchored.get(node) ?? new Map<number, AnchoredLine>();
    anchored.set(node, lines);
    // The first anchor of a line counts: a later one may be of a rewritten history.
    if (!lines.has(seq)) lines.set(seq, { hash, time });
  }
  return anchored;
}

function otherKey(keyId: string, vault: AuditVault): SidekeyError {
  return new SidekeyError(
    'key_mismatch',
    `The anchor or head record was made with another master key (${keyId}) than this one (${vault.keyId}).`,
    { hint: 'Use the key that the log was written with.' },
  );
}

/**
 * The retention record, `<file>.retained`: how far files were removed, so that the first remaining line
 * continues from a known head. An older record does not cover later removals. Files that somebody else
 * deleted never count as removed by retention.
 */
export interface RetentionRecord {
  /** The number of the last removed file; 0: none. */
  readonly removed: number;
  /** Time of the removal: ISO 8601. */
  readonly time: string;
  readonly lines: number;
  /** The last removed line of each node, and the number of the first one. */
  readonly chains: ReadonlyMap<string, RemovedChain>;
}

interface RemovedChain extends ChainHead {
  readonly first: number;
}

/** A retention record as read: none yet, authentic, of another master key, or changed. */
export type RetentionState =
  | { readonly kind: 'none' }
  | { readonly kind: 'record'; readonly record: RetentionRecord; readonly key: Generation }
  | { readonly kind: 'other-key'; readonly keyId: string }
  | { readonly kind: 'broken' };

export const nothingRemoved: RetentionRecord = { removed: 0, time: '', lines: 0, chains: new Map() };

export function retentionFile(file: string): string {
  return `${file}.retained`;
}

const retentionShape = z.object({
  v: z.literal(1),
  removed: z.int().min(0),
  time: z.string(),
  lines: z.int().min(0).default(0),
  chains: z.array(z.strictObject({ node: z.string(), first: z.int().min(1).default(1), ...linkFields })),
});

export function readRetention(file: string, vault: AuditVault): RetentionState {
  let text: string;
  try {
    text = fs.readFileSync(retentionFile(file), 'utf8');
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return { kind: 'none' };
    throw error;
  }
  const unsealed = unsealLine(text.replace(/\n$/, ''), 'audit-retention', vault);
  if (unsealed.kind !== 'authentic') return unsealed;
  const read = retentionShape.safeParse(unsealed.value);
  if (!read.success) return { kind: 'broken' };
  const { removed, time, lines, chains } = read.data;
  const heads = chains.map(({ node, ...chain }): [string, RemovedChain] => [node, chain]);
  return { kind: 'record', record: { removed, time, lines, chains: new Map(heads) }, key: unsealed.key };
}

/** Seals the retention record with the current key. The caller must hold the retention lock. */
export function resealRetention(file: string, vault: AuditVault): void {
  const state = readRetention(file, vault);
  if (state.kind === 'record' && state.key.keyId !== vault.keyId) writeRetention(file, state.record, vault);
}

/** Replaces the retention record durably: a crash leaves the old one or the new one. */
export function writeRetention(file: string, record: RetentionRecord, vault: AuditVault): void {
  const { removed, time, lines } = record;
  const chains = Array.from(record.chains, ([node, { first, seq, hash, end }]) => ({
    node,
    first,
    seq,
    hash,
    end,
  }));
  const line = sealLine({ v: 1, removed, time, lines, chains }, 'audit-retention', vault);
  const next = `${retentionFile(file)}.new`;
  fs.rmSync(next, { force: true });
  fs.writeFileSync(next, `${line}\n`, { flag: 'wx', mode: 0o600, flush: true });
  fs.renameSync(next, retentionFile(file));
  syncFolder(file);
}
