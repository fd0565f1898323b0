/** What servers want to see in the next proof (RFC 9449 §8 and §9). */

/** The last nonce of each server, for as long as the process lives. */
export interface Nonces {
  /** Null: it gave none. */
  of(origin: string): string | null;
  remember(origin: string, nonce: string): void;
}

/** Servers that are remembered; beyond that the one that spoke longest ago is forgotten, and says its nonce again. */
const most = 1_024;

/** Characters. Nonces that hold the server's whole state, encrypted, stay well below it. */
const longest = 1_024;

/** Nothing is known at first. */
export function createNonces(bound = most): Nonces {
  const known = new Map<string, string>();
  return {
    of: (origin) => known.get(origin) ?? null,
    remember(origin, nonce) {
      known.delete(origin);
      known.set(origin, nonce);
      const [first] = known.size > bound ? known.keys() : [];
      if (first !== undefined) known.delete(first);
    },
  };
}

/**
 * The nonce in the fields `DPoP-Nonce` of a response; null where there is none that can be used: several, one that is
 * empty or too long, or with a character that none has (RFC 9449 §8.1).
 */
export function nonceIn(values: readonly string[]): string | null {
  const [value = ''] = values;
  const isOne = values.length === 1 && value.length <= longest;
  return isOne && /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(value) ? value : null;
}
