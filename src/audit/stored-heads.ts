/**
 * The ends of the chains of a log in the store, sealed: with them it is found that the log was removed or put back as it
 * was, together with its head records. An end is written only once its line is durable, so the log is never behind the
 * store by itself.
 */
import { z } from 'zod';
import type { Gap } from './chain.ts';
import type { ChainHead } from './line.ts';
import { type AuditVault, sealLine, unsealLine } from './records.ts';

/** The end of one chain of a log, as the store has it. */
export interface StoredHead {
  /** The absolute path of the log. */
  readonly log: string;
  readonly node: string;
  readonly seq: number;
  readonly sealed: Uint8Array;
}

/** What the log asks of the store. */
export interface HeadStore {
  /** Where it is, for people. */
  readonly location: string;
  readonly auditHeads: {
    list(log: string): Promise<StoredHead[]>;
    /** Keeps the end, unless a later one of this chain is kept already. */
    put(end: StoredHead): Promise<void>;
  };
}

/** The ends of one log as the store has them. */
export interface StoredHeads {
  /** Where the store is. */
  readonly location: string;
  /** The last line of each node that the store knows of. */
  readonly heads: ReadonlyMap<string, ChainHead>;
  /** Nodes whose end is not authentic. */
  readonly damaged: readonly string[];
}

const shape = z.object({
  v: z.literal(1),
  log: z.string(),
  node: z.string(),
  seq: z.int().min(1),
  hash: z.string(),
  end: z.string().optional(),
});

/**
 * Reads the ends of the log at `file`.
 * @param file Absolute.
 * @throws SidekeyError as the store does
 */
export async function readStoredHeads(
  store: HeadStore,
  file: string,
  vault: AuditVault,
): Promise<StoredHeads> {
  const ends = new Map<string, ChainHead>();
  const damaged: string[] = [];
  for (const { node, seq: told, sealed } of await store.auditHeads.list(file)) {
    const unsealed = unsealLine(Buffer.from(sealed).toString(), 'audit-end', vault);
    const { success, data } = shape.safeParse(unsealed.kind === 'authentic' ? unsealed.value : null);
    if (success && data.log === file && data.node === node && data.seq === told) {
      const { seq, hash, end } = data;
      ends.set(node, { seq, hash, end });
    } else damaged.push(node);
  }
  return { location: store.location, heads: ends, damaged };
}

/** Keeps the end of a chain of the log at `file`. The line must be durable. */
export async function storeHead(
  store: HeadStore,
  file: string,
  node: string,
  { seq, hash, end }: ChainHead,
  vault: AuditVault,
): Promise<void> {
  const sealed = sealLine({ v: 1, log: file, node, seq, hash, end }, 'audit-end', vault);
  await store.auditHeads.put({ log: file, node, seq, sealed: Buffer.from(sealed) });
}

/** The `reason` of `audit.accepted`: the lines whose loss a person accepted. */
export function formatGap({ node, from, to }: Gap): string {
  return `Lines ${from} to ${to} of ${node} are gone.`;
}

/** Reads what `gapReason` wrote. */
export function parseGap(reason: string): Gap | undefined {
  const [, from, to, node] = /^Lines (\d+) to (\d+) of (\S+) are gone\.$/.exec(reason) ?? [];
  return node === undefined ? undefined : { node, from: Number(from), to: Number(to) };
}
