import { hash } from 'node:crypto';
import type { z } from 'zod';
import type { Store } from '../store/store.ts';
import type { Vault } from '../store/vault/vault.ts';

/** Sealed records with an expiry, each found by a secret key that the store does not have. */
interface Sessions<T> {
  /**
   * @param expiresAt milliseconds since the epoch
   * @param isOver true: replaces a record of the key; default: there is none
   */
  put(key: string, value: T, expiresAt: number, isOver?: boolean): Promise<void>;
  /** Null: no such record, expired, or written by another version. */
  get(key: string): Promise<T | null>;
  /** Removes and returns a record. Of several concurrent callers, only one receives it. */
  take(key: string): Promise<T | null>;
}

/** Parts that records are stored with. */
export interface SessionParts {
  readonly store: Pick<Store, 'sessions'>;
  readonly vault: Pick<Vault, 'seal' | 'open' | 'refresh'>;
  readonly now: () => number;
}

const version = 1;

/** Returns the ID of a record. It does not reveal the key to readers of the store (RFC 6749 §10.12). */
export function sessionId(kind: string, key: string): string {
  return hash('sha256', `${kind}/${key}`);
}

/**
 * Returns the records of a kind. Methods reject with errors of the store, and of `Vault.open` if a record was
 * swapped with another.
 */
export function sessionsOf<T>(
  kind: string,
  shape: z.ZodType<T>,
  { store: { sessions }, vault, now }: SessionParts,
): Sessions<T> {
  const read = async (record: Awaited<ReturnType<typeof sessions.get>>): Promise<T | null> => {
    if (record === null || record.expiresAt <= now()) return null;
    await vault.refresh();
    const text = Buffer.from(vault.open(`${kind}/${record.id}`, record.sealed)).toString('utf8');
    const { v, value } = JSON.parse(text) as { readonly v?: unknown; readonly value?: unknown };
    return v === version ? (shape.safeParse(value).data ?? null) : null;
  };
  return {
    async put(key, value, expiresAt, isOver = false) {
      await sessions.removeEnded(now());
      const id = sessionId(kind, key);
      await vault.refresh();
      const text = Buffer.from(JSON.stringify({ v: version, value }), 'utf8');
      const record = { id, expiresAt, sealed: vault.seal(`${kind}/${id}`, text) };
      await (isOver ? sessions.put(record) : sessions.insert(record));
    },
    get: async (key) => read(await sessions.get(sessionId(kind, key))),
    take: async (key) => read(await sessions.take(sessionId(kind, key))),
  };
}
