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

/**
 * Reads a JSON object, with any content type, after at most three redirects to https. Null: the server has
 * none there, such as a page for people with status 200.
 */
async function documentAt(place: URL, io: DocumentIo): Promise<JsonObject | null> {
  let at = place;
  for (let redirects = 0; redirects <= maxRedirects; redirects += 1) {
    const { status, location, text } = await get(at, io);
    if (status >= 500 || status === 429) throw unreachable(at, `it answered HTTP ${status}`);
    const next = redirectOf(status, location, at);
    if (next === null) {
      if (text === null) throw unusable(at, 'the answer is larger than 256 KiB');
      return status === 200 ? jsonObject(text) : null;
    }
    at = next;
  }
  return null;
}

async function get(at: URL, { fetch, signal }: DocumentIo) {
  try {
    const response = await fetch(at.href, {
      method: 'GET',
      headers: { accept: 'application/json' },
      redirect: 'manual',
      ...(signal === undefined ? {} : { signal }),
    });
    const body = await readBounded(response.body, maxBytes);
    return {
      status: response.status,
      location: response.headers.get('location'),
      // Without a byte order mark.
      text: body === null ? null : new TextDecoder().decode(body),
    };
  } catch (error) {
    throw findSidekeyError(error) ?? unreachable(at, describeFault(error));
  }
}

/** Returns where a redirect leads; null: the answer is none, or does not lead to https. */
export function redirectOf(status: number, location: string | null, at: URL): URL | null {
  return status < 300 || status >= 400 || location === null ? null : httpsUrl(location, at);
}

/** Parses an https URL without a user, a password and a fragment; null: it is none. */
export function httpsUrl(text: unknown, base?: URL): URL | null {
  const url = typeof text === 'string' ? URL.parse(text, base) : null;
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

/** Returns strings of a list, or of a text with spaces, as some servers send. Other members count as absent. */
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
    hint: 'check the address; hosts of a private network need upstream.private_addresses',
  });
}
