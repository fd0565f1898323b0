import type { createLocalJWKSet, JSONWebKeySet } from 'jose';
import { isJsonObject, parseStrictJson } from '../lib/json.ts';
import { SidekeyError } from '../lib/errors.ts';
import { withoutStop } from '../lib/text.ts';

/** Finds the key that a JWS names. */
export type FindKey = ReturnType<typeof createLocalJWKSet>;

interface KeyParts {
  /** For messages: `agent_issuers.github`. */
  readonly name: string;
  /** Returns the key set (RFC 7517 §5), of 64 KiB at most. */
  readonly read: () => Promise<string>;
  /** Milliseconds for which a key set is not read again. */
  readonly freshMs: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const firstBackOffMs = 1_000;
const maxBackOffMs = 300_000;
const maxKeys = 100;

/**
 * The keys of one issuer, in memory. One reading at a time; after a failure the next one waits for 1 s, and longer after
 * each further failure, 5 min at most.
 */
export class IssuerKeys {
  readonly #parts: KeyParts;
  #known: { readonly text: string; readonly find: FindKey } | null = null;
  #reading: Promise<void> | null = null;
  /** Time of the last reading that has ended. */
  #readAt = -Infinity;
  #failures = 0;
  #failure: SidekeyError | null = null;

  constructor(parts: KeyParts) {
    this.#parts = parts;
  }

  /**
   * Returns the keys.
   *
   * @param evenOld for a token that was valid before: keys in memory do, however old they are
   * @throws SidekeyError `issuer_unavailable` if there are no keys of the last minutes
   */
  async current(evenOld: boolean): Promise<FindKey> {
    if (!this.#isFresh() && !(evenOld && this.#known !== null)) await this.#readAfter(this.#backOffMs());
    if (this.#known === null || (this.#failure !== null && !evenOld)) throw this.#unavailable();
    return this.#known.find;
  }

  /** Reads the keys again for a token whose key is not among them, except shortly after the last time. */
  async again(): Promise<FindKey> {
    await this.#readAfter(Math.max(this.#parts.freshMs / 20, this.#backOffMs()));
    return this.current(false);
  }

  /** Begins to read the keys where they are old. Called for tokens that are in use: their key may have been withdrawn. */
  touch(): void {
    if (!this.#isFresh()) void this.#readAfter(this.#backOffMs());
  }

  /** Reports whether the keys are those of `current` or `again`. */
  isCurrent(find: FindKey): boolean {
    return find === this.#known?.find;
  }

  #isFresh(): boolean {
    return this.#failure === null && this.#age() < this.#parts.freshMs;
  }

  /** A clock that was set back counts as a long time. */
  #age(): number {
    const age = this.#parts.now() - this.#readAt;
    return age < 0 ? Infinity : age;
  }

  #backOffMs(): number {
    return this.#failures === 0 ? 0 : Math.min(firstBackOffMs * 2 ** (this.#failures - 1), maxBackOffMs);
  }

  async #readAfter(pauseMs: number): Promise<void> {
    if (this.#reading === null) {
      if (this.#age() < pauseMs) return;
      this.#reading = this.#read().finally(() => (this.#reading = null));
    }
    await this.#reading;
  }

  /** Never rejects. */
  async #read(): Promise<void> {
    const { read, now } = this.#parts;
    try {
      const keys = publicKeys(await read());
      const text = JSON.stringify(keys);
      if (this.#known?.text !== text) {
        const { createLocalJWKSet: create } = await import('jose');
        this.#known = { text, find: create(keys) };
      }
      this.#failures = 0;
      this.#failure = null;
    } catch (error) {
      this.#failures += 1;
      this.#failure = asUnavailable(this.#parts.name, error);
    }
    this.#readAt = now();
  }

  #unavailable(): SidekeyError {
    const { code, message, hint } = this.#failure ?? asUnavailable(this.#parts.name, null);
    return new SidekeyError(code, message, { hint, retryAfterMs: Math.max(1_000, this.#backOffMs()) });
  }
}

function asUnavailable(name: string, error: unknown): SidekeyError {
  const why = error instanceof SidekeyError ? withoutStop(error.message) : 'it is not a set of public keys';
  return new SidekeyError('issuer_unavailable', `The keys of ${name} cannot be read: ${why}.`, {
    cause: error,
  });
}

/**
 * Returns the public keys for signatures. A SPIFFE bundle marks them with `jwt-svid`; its keys of certificates are left out,
 * and so is each private or symmetric key, which can belong to no issuer.
 */
function publicKeys(text: string): JSONWebKeySet {
  const set = parseStrictJson(text);
  const keys = isJsonObject(set) ? set.get('keys') : undefined;
  if (!Array.isArray(keys) || keys.length > maxKeys) throw new TypeError('not a key set');
  const usable = keys.flatMap((key) => {
    if (!isJsonObject(key) || key.has('d') || key.has('k')) return [];
    const use = key.get('use') ?? 'sig';
    return use === 'sig' || use === 'jwt-svid' ? [{ ...Object.fromEntries(key), use: 'sig' }] : [];
  });
  if (usable.length === 0) throw new TypeError('no public key');
  return { keys: usable };
}
