/** What may be kept of a text that came from a provider, or of a failure on the way to it. Pure. */
import { SidekeyError } from '../errors.ts';

const maxRead = 4_096;
const maxKept = 300;
/** A piece of a secret that is this long is taken for one: providers quote tokens cut short. */
const pieceLength = 8;

/**
 * A provider's words for people: control and invisible characters become spaces, every piece of a secret is taken
 * out, and the rest is cut at 300 characters.
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
  const kept = Array.from(clean);
  return kept.length > maxKept ? `${kept.slice(0, maxKept - 1).join('')}…` : clean;
}

/** An error code as RFC 6749 §5.2 means it: short and plain; anything else is not repeated. */
export function errorCode(text: string, secrets: readonly string[]): string {
  const plain = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$/.test(text) && describe(text, secrets) === text;
  return plain ? text : 'unnamed_error';
}

/** Why a request did not come through, from codes alone: messages of drivers may hold anything. */
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

/** The failure with a code of ours that lies beneath, such as the dial guard's `address_blocked`; null: none. */
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

/** The forms in which a secret may come back: as it is, and as a form, a URL or a JSON text has it. */
function renderedForms(secret: string): readonly string[] {
  if (secret === '') return [];
  return [
    ...new Set([
      secret,
      encodeURIComponent(secret.toWellFormed()),
      new URLSearchParams([['', secret]]).toString().slice(1),
      JSON.stringify(secret).slice(1, -1),
      Buffer.from(secret, 'utf8').toString('base64'),
    ]),
  ];
}

function redact(text: string, secret: string): string {
  if (secret.length <= pieceLength) return text.replaceAll(secret, '[redacted]');
  let clean = '';
  for (let at = 0; at < text.length;) {
    let end = at;
    while (end + pieceLength <= text.length && secret.includes(text.slice(end, end + pieceLength))) end += 1;
    if (end === at) {
      clean += text[at];
      at += 1;
    } else {
      clean += '[redacted]';
      at = end + pieceLength - 1;
    }
  }
  return clean;
}
