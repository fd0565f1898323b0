/**
 * Anchors: how far each chain of a log was written at a time, to be kept where the log's writer cannot change it. With
 * one, `verifyAudit` finds also what it cannot find alone: an older log that was put back together with its own older
 * head records.
 */
import { z } from 'zod';
import { SidekeyError } from '../lib/errors.ts';
import type { AnchoredLine } from './chain.ts';
import { type AuditVault, headFile, readHeads, sealLine, unsealLine } from './records.ts';

/** The lines that anchors name, of each node by their number. */
export type Anchored = ReadonlyMap<string, ReadonlyMap<number, AnchoredLine>>;

/** An anchor: its text is one line of JSON, without a newline. */
interface Anchor {
  readonly text: string;
  /** ISO 8601. */
  readonly time: string;
  readonly chains: readonly { readonly node: string; readonly seq: number; readonly hash: string }[];
}

const shape = z.object({
  v: z.literal(1),
  anchor: z.literal('sidekey-audit'),
  time: z.string(),
  chains: z.array(z.strictObject({ node: z.string(), seq: z.int().min(1), hash: z.string() })),
});

/**
 * The anchor of the log as it is now.
 * @param now Milliseconds since the epoch.
 * @throws SidekeyError `audit_broken` where a head record was changed; `key_mismatch` where it is of another master key.
 */
export function takeAnchor(file: string, vault: AuditVault, now: number): Anchor {
  const chains = readHeads(file, vault).flatMap((record) => {
    if (record.kind === 'other-key') throw otherKey(record.keyId, vault);
    if (record.kind === 'broken') {
      throw new SidekeyError('audit_broken', `A head record in ${headFile(file)} was changed.`, {
        hint: 'sidekey audit verify',
      });
    }
    if (record.kind === 'none' || record.head.seq === 0) return [];
    const { node, seq, hash } = record.head;
    return [{ node, seq, hash }];
  });
  const time = new Date(now).toISOString();
  const text = sealLine({ v: 1, anchor: 'sidekey-audit', time, chains }, 'audit-anchor', vault);
  return { text, time, chains };
}

/**
 * Reads anchors, one on a line; empty lines are passed over.
 * @throws SidekeyError `input_invalid` where a line is no anchor, or was changed; `key_mismatch` where it is of a log with
 * another master key.
 */
export function readAnchors(text: string, vault: AuditVault): Anchored {
  const anchored = new Map<string, Map<number, AnchoredLine>>();
  let count = 0;
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '') continue;
    count += 1;
    const unsealed = unsealLine(line.trim(), 'audit-anchor', vault);
    if (unsealed.kind === 'other-key') throw otherKey(unsealed.keyId, vault);
    const read = shape.safeParse(unsealed.kind === 'authentic' ? unsealed.value : null);
    if (!read.success) {
      throw new SidekeyError('input_invalid', `Line ${index + 1} is no anchor of this log, or was changed.`, {
        hint: 'give what sidekey audit anchor printed, as it was printed',
      });
    }
    for (const { node, seq, hash } of read.data.chains) {
      const lines = anchored.get(node) ?? new Map<number, AnchoredLine>();
      anchored.set(node, lines);
      // The first that names a line counts: a later one may name it in a history that was written anew.
      if (!lines.has(seq)) lines.set(seq, { hash, time: read.data.time });
    }
  }
  if (count > 0) return anchored;
  throw new SidekeyError('input_invalid', 'There is no anchor in what was given.', {
    hint: 'keep one with: sidekey audit anchor >> audit-anchors.jsonl',
  });
}

function otherKey(keyId: string, vault: AuditVault): SidekeyError {
  return new SidekeyError(
    'key_mismatch',
    `The anchor or head record was made with another master key (${keyId}) than this one (${vault.keyId}).`,
    { hint: 'Use the key that the log was written with.' },
  );
}
