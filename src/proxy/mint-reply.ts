import type { Grant } from '../domain/grant.ts';
import type { Minted, MintRequest } from '../grants/mint.ts';
import { type RawFields, valuesOf } from './http/fields.ts';
import { hasResponseBody } from './http/framing.ts';
import type { Reply } from './http/message.ts';
import type { GuardOwner, ReplySink } from './leak-guard/response.ts';
import { isGuardable, Matcher } from './leak-guard/patterns.ts';
import { redactText } from './leak-guard/redactor.ts';
import { SidekeyError } from '../lib/errors.ts';
import { parseStrictJson } from '../lib/json.ts';
import { parseXml, writeXml } from '../lib/xml.ts';
import { decodeUtf8 } from './policy/body.ts';
import type { MintRow } from './policy/domain-map.ts';
import { type HandedOut, handedOut, unreadable, writtenAnew } from './mint-answer.ts';

/** The rows that the answer to a request may match, and the store of its credentials. */
export interface Mints extends Pick<MintKeeper, 'forget' | 'answering'> {
  readonly rows: readonly MintRow[];
  readonly now: () => number;
  /** Stores a credential. Returns its placeholders by the texts of the answer. @throws as `mintGrant` */
  readonly keep: (
    found: HandedOut,
  ) => Promise<Minted & { readonly placeholders: ReadonlyMap<string, string> }>;
}

/** Stores minted grants. */
export interface MintKeeper {
  readonly keep: (request: MintRequest) => Promise<Minted>;
  /** Ends a grant whose placeholder no client received. */
  readonly forget: (grant: Grant) => Promise<void>;
  /** Adds an answer that is being written, whose client may leave meanwhile. It never rejects. */
  readonly answering: (answer: Promise<void>) => void;
}

/** Maximum bytes of an answer that hands out a credential. */
const maxBytes = 262_144;

/**
 * Holds an answer that may hand out a credential, stores the credential as a grant, and writes the answer
 * anew with a placeholder. No byte of the received head or body is forwarded.
 */
export class MintReply implements ReplySink {
  readonly #reply: Reply;
  readonly #owner: GuardOwner;
  readonly #method: string;
  readonly #mints: Mints;
  readonly #pieces: Buffer[] = [];
  #bytes = 0;
  #status = 0;
  #fields: RawFields = [];

  constructor(reply: Reply, owner: GuardOwner, method: string, mints: Mints) {
    this.#reply = reply;
    this.#owner = owner;
    this.#method = method;
    this.#mints = mints;
  }

  get gone(): Reply['gone'] {
    return this.#reply.gone;
  }

  head(status: number, _reason: string, fields: RawFields): void {
    this.#status = status;
    this.#fields = fields;
    if (valuesOf(fields, 'content-encoding').some((coding) => coding.toLowerCase() !== 'identity'))
      this.#owner.stop(unreadable('is compressed'));
  }

  write(piece: Buffer): boolean {
    this.#pieces.push(Buffer.from(piece));
    this.#bytes += piece.length;
    if (this.#bytes > maxBytes) this.#owner.stop(unreadable(`has more than ${maxBytes} bytes`));
    return true;
  }

  onDrain(): void {}

  end(_trailers: RawFields, flushed?: () => void): void {
    if (this.#owner.isOver) return;
    const answer = this.#answer(flushed).catch((error: unknown) => {
      const cause = { cause: error };
      this.#owner.stop(
        error instanceof SidekeyError ? error : new SidekeyError('internal', undefined, cause),
      );
    });
    this.#mints.answering(answer);
  }

  abort(): void {
    this.#reply.abort();
  }

  async #answer(flushed?: () => void): Promise<void> {
    const { rows, keep, forget, now } = this.#mints;
    const received = Buffer.concat(this.#pieces);
    const isRefusal = this.#status >= 300;
    const text = decodeUtf8(received) ?? '';
    const xml = parseXml(text);
    const value = xml ?? parseStrictJson(text);
    if (value === undefined && !isRefusal && received.length > 0)
      throw unreadable('is not JSON or XML that every program reads alike');
    const found = isRefusal || value === undefined ? [] : handedOut(value, rows, now());
    const newGrants: Grant[] = [];
    const placeholders = new Map<string, string>();
    let isSent = false;
    try {
      for (const each of found) {
        const kept = await keep(each);
        // An earlier answer may have handed out the same credential.
        if (kept.isNew) newGrants.push(kept.grant);
        for (const [written, placeholder] of kept.placeholders) placeholders.set(written, placeholder);
      }
      const mayHaveBody = hasResponseBody(this.#method, this.#status);
      const anew = value === undefined || !mayHaveBody ? undefined : writtenAnew(value, rows, placeholders);
      const body =
        anew === undefined ? '' : xml === undefined ? JSON.stringify(anew) : writeXml(anew as object);
      if (anew !== undefined && body === '' && !isRefusal) throw unreadable('is XML of another service');
      const fields = [
        ...passedOn(this.#fields),
        ...(body !== '' ? ['Content-Type', xml === undefined ? 'application/json' : 'text/xml'] : []),
        ...(mayHaveBody ? ['Content-Length', String(Buffer.byteLength(body))] : []),
        'Cache-Control',
        'no-store',
      ];
      if (shows([body, ...fields], found)) throw unreadable('repeats it in another place');
      if (this.#owner.isOver || this.#reply.gone.already) return;
      this.#reply.head(this.#status, '', fields);
      if (body !== '') this.#reply.write(Buffer.from(body));
      isSent = true;
      this.#reply.end([], flushed);
    } finally {
      if (!isSent) await Promise.all(newGrants.map(forget));
    }
  }
}

/** Returns the fields of an answer that say nothing of its content. */
function passedOn(fields: RawFields): readonly string[] {
  return fields.flatMap((name, index) => {
    const value = fields[index + 1]!;
    if (index % 2 !== 0) return [];
    const isCount = /^(?:retry-after|x-ratelimit-[a-z]+)$/i.test(name) && /^[0-9]{1,12}$/.test(value);
    // SDKs take the name of an error of AWS from this field.
    const isError = /^x-amzn-errortype$/i.test(name) && /^[A-Za-z]{1,64}$/.test(value);
    return isCount || isError || name === 'Sidekey-Hint' ? [name, value] : [];
  });
}

/** Reports whether a text has one of the credentials in a form that a program could decode. */
function shows(texts: readonly string[], found: readonly HandedOut[]): boolean {
  const secrets = found.flatMap(({ written, value, keys }) => [
    written,
    value,
    value.split(/[.:]/).at(-1)!,
    ...(keys === null ? [] : [keys.sessionToken]),
  ]);
  const guarded = secrets.map((text) => Buffer.from(text).toString('latin1')).filter(isGuardable);
  if (guarded.length === 0) return false;
  const matcher = new Matcher(guarded);
  return texts.some((text) => {
    const bytes = Buffer.from(text).toString('latin1');
    return redactText(matcher, bytes) !== bytes;
  });
}
