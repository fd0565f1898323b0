import { readBounded } from '../../lib/body.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { Hint } from '../../lib/hint.ts';
import { describeFault, findSidekeyError } from './description.ts';
import { type DocumentIo, type JsonObject, jsonObject } from './http.ts';

/** Documents that a server publishes about itself, at places that specifications name. */

const maxBytes = 262_144;
const maxRedirects = 3;

/**
 * Returns the first document that `read` accepts; null: no place has one. `read` returns null for JSON of
 * another kind, and throws for a document that must not be used. A later place may still have a usable one.
 *
 * @throws SidekeyError the first refusal of `read`, if no place has a usable document; else the failure of a
 * place that did not answer
 */
export async function firstUsable<P extends { readonly url: URL }, T>(
  places: readonly P[],
  read: (document: JsonObject, place: P) => T | null,
  io: DocumentIo,
): Promise<T | null> {
  const failures: SidekeyError[] = [];
  const silent = new Set<string>();
  for (const place of places) {
    if (silent.has(place.url.host)) continue;
    try {
      const document = await documentAt(place.url, io);
      const found = document === null ? null : read(document, place);
      if (found !== null) return found;
    } catch (error) {
      if (!(error instanceof SidekeyError)) throw error;
      if (error.code !== 'provider_refused') silent.add(place.url.host);
      failures.push(error);
    }
  }
  const failure = failures.find(({ code }) => code === 'provider_refused') ?? failures[0];
  if (failure !== undefined) throw failure;
  return null;
}

/** Reads a JSON object of any content type. Null: there is none, such as in a page for people. */
async function documentAt(url: URL, io: DocumentIo): Promise<JsonObject | null> {
  const request = { url, isDocument: true, method: 'GET', headers: { accept: 'application/json' } } as const;
  const { at, status, text } = await ask(request, io);
  if (status >= 500 || status === 429) throw unreachable(at, `it answered HTTP ${status}`);
  if (text === null) throw unusable(at, 'the answer is larger than 256 KiB');
  return status === 200 ? jsonObject(text) : null;
}

interface Question extends Pick<Parameters<DocumentIo['fetch']>[1], 'method' | 'headers' | 'body'> {
  readonly url: URL;
  /** True: reads the body. False: only the head, and leaves the origin of the URL for no redirect. */
  readonly isDocument: boolean;
}

/**
 * Sends a request without a credential, and follows at most three redirects to https.
 *
 * @returns the last response; `text` is null if nothing of it is read, or it is over the limit
 * @throws SidekeyError `address_blocked`, `upstream_unreachable`
 */
export async function ask({ url, isDocument, ...init }: Question, { fetch, signal }: DocumentIo) {
  let at = url;
  for (let redirects = 0; ; redirects += 1) {
    // A body that is not read may be an event stream without an end.
    const end = new AbortController();
    const either = signal === undefined ? end.signal : AbortSignal.any([signal, end.signal]);
    try {
      const { status, headers, body } = await fetch(at.href, { ...init, redirect: 'manual', signal: either });
      const next = status < 300 || status >= 400 ? null : httpsUrl(headers.get('location'), at);
      if (next === null || redirects === maxRedirects || !(isDocument || next.origin === url.origin)) {
        const bytes = isDocument ? await readBounded(body, maxBytes) : null;
        // Without a byte order mark.
        return { at, status, headers, text: bytes === null ? null : new TextDecoder().decode(bytes) };
      }
      at = next;
    } catch (error) {
      throw findSidekeyError(error) ?? unreachable(at, describeFault(error));
    } finally {
      end.abort();
    }
  }
}

/** Maximum length that browsers accept. Longer URLs would fill the terminal and the config file. */
const maxUrlLength = 2_048;

/** Parses an https URL without a user, a password and a fragment; null: it is none. */
export function httpsUrl(text: unknown, base?: URL): URL | null {
  // The parser drops control characters, but identifiers are printed, stored and sent as they are written.
  const isLine = typeof text === 'string' && text.length <= maxUrlLength && !/[\p{C}\p{Z}]/u.test(text);
  const url = isLine ? URL.parse(text, base) : null;
  const plain = url?.protocol === 'https:' && url.username === '' && url.password === '' && url.hash === '';
  return plain ? url : null;
}

/** Reports whether two identifiers are one: servers write them with and without a slash at the end. */
export function isSameIdentifier(one: unknown, other: unknown): boolean {
  const [first, second] = [httpsUrl(one), httpsUrl(other)];
  return first !== null && second !== null && bare(first) === bare(second);
}

function bare({ origin, pathname, search }: URL): string {
  return `${origin}${pathname.replace(/\/$/, '')}${search}`;
}

/** Returns strings of a list, or of a text with spaces. Other members count as absent. */
export function texts(value: unknown): readonly string[] {
  if (typeof value === 'string') return value.split(' ').filter((item) => item !== '');
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];
}

/** Returns a value of a document for people. Anything but a short https URL is not quoted. */
export function shown(value: unknown): string {
  const url = httpsUrl(value);
  if (url !== null) return url.href.length > 300 ? `a long address at ${url.host}` : url.href;
  return value === undefined || value === null ? 'none' : 'a value that is not an https URL';
}

export function unusable(at: URL, reason: string, hint?: Hint): SidekeyError {
  return new SidekeyError(
    'provider_refused',
    `${at.host} says how to log in, and it cannot be used: ${reason}.`,
    { hint: hint ?? 'tell its operator, or set the endpoints under "providers" in the config file' },
  );
}

function unreachable(at: URL, reason: string): SidekeyError {
  return new SidekeyError('upstream_unreachable', `${at.host} did not answer: ${reason}.`, {
    hint: 'check the address, the network and upstream.proxy',
  });
}
