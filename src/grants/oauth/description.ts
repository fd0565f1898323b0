import { SidekeyError } from '../../lib/errors.ts';
import { base64Within } from '../../lib/text.ts';

/** Cleans messages of providers and failed requests for people. Pure. */

const maxRead = 4_096;
const maxKept = 300;
/** Pieces of a secret this long are redacted: providers quote truncated tokens. */
const pieceLength = 8;
/** Mark for redacted pieces until the end: cleaned text has no NUL, and no secret matches it. */
const hole = '\0';

/**
 * Cleans a text of a provider for people: replaces control and invisible characters by spaces, redacts every
 * piece of a secret, and truncates at 300 characters.
 */
export function describe(text: string, secrets: readonly string[]): string {
  let clean = text
    .slice(0, maxRead)
    .replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ')
    .replace(/ {2,}/g, ' ')
    .trim();
  for (const secret of secrets) {
    for (const form of renderedForms(secret)) clean = redact(clean, form);
  }
  clean = clean.replace(/\0+/g, '[redacted]');
  const characters = Array.from(clean);
  return characters.length > maxKept ? `${characters.slice(0, maxKept - 1).join('')}…` : clean;
}

/**
 * Returns an error code (RFC 6749 §5.2) if it is short and plain, else `unnamed_error`. Secrets shorter
 * than a piece only match as a whole: a client with the secret `client` still gets `invalid_client`.
 */
export function errorCode(text: string, secrets: readonly string[]): string {
  const telling = secrets.filter((secret) => secret.length >= pieceLength || secret === text);
  const plain = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$/.test(text) && describe(text, telling) === text;
  return plain ? text : 'unnamed_error';
}

/** Joins an error code, or the start of any sentence, with a description. */
export function withDescription(what: string, description: string): string {
  return description === '' ? what : `${what}: ${description}`;
}

/** Returns the reason of a failed request, from codes only: messages of drivers may contain anything. */
export function describeFault(error: unknown): string {
  const ours = findSidekeyError(error);
  if (ours !== null) return ours.message;
  for (const link of causes(error)) {
    const code = link instanceof Error && 'code' in link ? link.code : undefined;
    if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{2,60}$/.test(code))
      return `the connection failed (${code})`;
  }
  return 'the connection failed';
}

/** Returns the SidekeyError among the causes, such as the dial guard's `address_blocked`; null: none. */
export function findSidekeyError(error: unknown): SidekeyError | null {
  for (const link of causes(error)) if (link instanceof SidekeyError) return link;
  return null;
}

function* causes(error: unknown): Generator {
  let link = error;
  for (let depth = 0; depth < 8 && link !== undefined && link !== null; depth += 1) {
    yield link;
    link = link instanceof Error ? link.cause : undefined;
  }
}

/** Returns the forms of a secret that a text may have: plain, form- and URL-encoded, JSON, base64 … */
function renderedForms(secret: string): readonly string[] {
  if (secret === '') return [];
  return [
    ...new Set([
      secret,
      encodeURIComponent(secret.toWellFormed()),
      new URLSearchParams([['', secret]]).toString().slice(1),
      JSON.stringify(secret).slice(1, -1),
      Buffer.from(secret, 'utf8').toString('base64'),
      ...encodings(secret).filter((text) => text.length >= pieceLength),
    ]),
  ];
}

/** Returns hex and base64 encodings of a secret. Those of short secrets also occur in other words. */
function encodings(secret: string): readonly string[] {
  return [
    Buffer.from(secret, 'utf8').toString('hex'),
    ...[0, 1, 2].flatMap((offset) => {
      const text = base64Within(Buffer.from(secret, 'utf8'), offset);
      return [text, text.replaceAll('+', '-').replaceAll('/', '_')];
    }),
  ];
}

function redact(text: string, secret: string): string {
  if (secret.length <= pieceLength) return text.replaceAll(secret, hole);
  let clean = '';
  for (let at = 0; at < text.length;) {
    let end = at;
    while (end + pieceLength <= text.length && secret.includes(text.slice(end, end + pieceLength))) end += 1;
    if (end === at) {
      clean += text[at];
      at += 1;
    } else {
      clean += hole;
      at = end + pieceLength - 1;
    }
  }
  return clean;
}
