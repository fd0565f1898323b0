/**
 * What retention removed, sealed, beside the log in `<file>.retained`: how far the chains went in the files that are gone,
 * so that the first file that is kept continues from a line that is known. Who has no key cannot make one, and with an
 * older one the lines removed since are missed: files that somebody else deletes are never taken for removed by retention.
 */
import fs from 'node:fs';
import { z } from 'zod';
import type { AuditVault } from './head.ts';
import type { Link } from './line.ts';
import { syncFolder } from './log-files.ts';
import { sealLine, unsealLine } from './sealed-line.ts';

/** What was removed so far. */
export interface RetentionRecord {
  /** The number of the last rotated file that was removed; 0: none was. */
  readonly removed: number;
  /** When, in ISO 8601. */
  readonly time: string;
  /** The last removed line of each node. */
  readonly chains: ReadonlyMap<string, Link>;
}

/** The record as read: none yet, one that is authentic, one of another master key, or one that was changed. */
export type RetentionState =
  | { readonly kind: 'none' }
  | { readonly kind: 'record'; readonly record: RetentionRecord }
  | { readonly kind: 'other-key'; readonly keyId: string }
  | { readonly kind: 'broken' };

/** Nothing was removed. */
export const nothingRemoved: RetentionRecord = { removed: 0, time: '', chains: new Map() };

/** The path of the record of a log. */
export function retentionFile(file: string): string {
  return `${file}.retained`;
}

const shape = z.object({
  v: z.literal(1),
  removed: z.int().min(0),
  time: z.string(),
  chains: z.array(
    z.strictObject({
      node: z.string(),
      seq: z.int().min(0),
      hash: z.string(),
      end: z.string().optional(),
    }),
  ),
});

/** Reads the record of a log. */
export function readRetention(file: string, vault: AuditVault): RetentionState {
  let text: string;
  try {
    text = fs.readFileSync(retentionFile(file), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { kind: 'none' };
    throw error;
  }
  const unsealed = unsealLine(text.replace(/\n$/, ''), 'audit-retention', vault);
  if (unsealed.kind !== 'authentic') return unsealed;
  const read = shape.safeParse(unsealed.value);
  if (!read.success) return { kind: 'broken' };
  const { removed, time, chains } = read.data;
  const links = chains.map(({ node, ...link }): [string, Link] => [node, link]);
  return { kind: 'record', record: { removed, time, chains: new Map(links) } };
}

/** Puts the record in the place of the one before, durably: a crash leaves the one or the other. */
export function writeRetention(
  file: string,
  { removed, time, chains }: RetentionRecord,
  vault: AuditVault,
): void {
  const links = Array.from(chains, ([node, { seq, hash, end }]) => ({ node, seq, hash, end }));
  const line = sealLine({ v: 1, removed, time, chains: links }, 'audit-retention', vault);
  const next = `${retentionFile(file)}.new`;
  fs.rmSync(next, { force: true });
  const fd = fs.openSync(next, 'wx', 0o600);
  try {
    fs.writeSync(fd, `${line}\n`);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(next, retentionFile(file));
  syncFolder(file);
}
