/**
 * The ends of the chains of a log in the store, sealed: with them it is found that the log was removed or put back as it
 * was, together with its head records. An end is written only once its line is durable, so the log is never behind the
 * store by itself.
 */
import { z } from 'zod';
import type { Gap } from './chain.ts';
import type { Link } from './line.ts';
import { type AuditVault, sealLine, unsealLine } from './records.ts';

/** The end of one chain of a log, as the store has it. */
export interface EndRecord {
  /** The absolute path of the log. */
  readonly log: string;
  readonly node: string;
  readonly seq: number;
  readonly sealed: Uint8Array;
}

/** What the log asks of the store. */
export interface EndStore {
  /** Where it is, for people. */
  readonly location: string;
  readonly auditEnds: {
    list(log: string): Promise<EndRecord[]>;
    /** Keeps the end, unless a later one of this chain is kept already. */
    put(end: EndRecord): Promise<void>;
  };
}

/** The ends of one log as the store has them. */
export interface StoredEnds {
  /** Where the store is. */
  readonly location: string;
  /** The last line of each node that the store knows of. */
  readonly ends: ReadonlyMap<string, Link>;
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
export async function readStoredEnds(store: EndStore, file: string, vault: AuditVault): Promise<StoredEnds> {
  const ends = new Map<string, Link>();
  const damaged: string[] = [];
  for (const { node, seq: told, sealed } of await store.auditEnds.list(file)) {
    const unsealed = unsealLine(Buffer.from(sealed).toString(), 'audit-end', vault);
    const { success, data } = shape.safeParse(unsealed.kind === 'authentic' ? unsealed.value : null);
    if (success && data.log === file && data.node === node && data.seq === told) {
      const { seq, hash, end } = data;
      ends.set(node, { seq, hash, end });
    } else damaged.push(node);
  }
  return { location: store.location, ends, damaged };
}

/** Keeps the end of a chain of the log at `file`. The line must be durable. */
export async function storeEnd(
  store: EndStore,
  file: string,
  node: string,
  { seq, hash, end }: Link,
  vault: AuditVault,
): Promise<void> {
  const sealed = sealLine({ v: 1, log: file, node, seq, hash, end }, 'audit-end', vault);
  await store.auditEnds.put({ log: file, node, seq, sealed: Buffer.from(sealed) });
}

/** The `reason` of `audit.accepted`: the lines whose loss a person accepted. */
export function gapReason({ node, from, to }: Gap): string {
  return `Lines ${from} to ${to} of ${node} are gone.`;
}

/** Reads what `gapReason` wrote. */
export function readGap(reason: string): Gap | undefined {
  const [, from, to, node] = /^Lines (\d+) to (\d+) of (\S+) are gone\.$/.exec(reason) ?? [];
  return node === undefined ? undefined : { node, from: Number(from), to: Number(to) };
}
