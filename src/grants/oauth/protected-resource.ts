import { caughtFailure } from '../../lib/errors.ts';
import { hintOf, remedy } from '../../lib/hint.ts';
import { packageVersion } from '../../lib/package-files.ts';
import { challengesIn } from '../../proxy/http/fields.ts';
import type { DocumentIo, JsonObject } from './http.ts';
import { ask, firstUsable, httpsUrl, isSameIdentifier, shown, texts, unusable } from './published.ts';
import { isScope } from './scopes.ts';

/** The challenge of an API, and its metadata (RFC 9728). */

export type ProtectedResource = Awaited<ReturnType<typeof protectedResource>>;

/**
 * Asks the API, and reads the metadata at the place that its challenge names, else at the well-known places.
 *
 * @throws SidekeyError `provider_refused`: the metadata is of another resource; `address_blocked`,
 * `upstream_unreachable`
 */
export async function protectedResource(address: URL, io: DocumentIo) {
  const challenge = await challengeOf(address, io);
  const { origin, pathname, search } = address;
  const path = pathname === '/' ? '' : pathname;
  const places = [
    challenge.metadata,
    new URL(`${origin}${wellKnown}${path}${search}`),
    new URL(`${origin}${wellKnown}${path.replace(/\/$/, '')}`),
    new URL(`${origin}${wellKnown}`),
  ].flatMap((url) => (url === null ? [] : [[url.href, { url }] as const]));
  const read = (document: JsonObject, { url }: { url: URL }) => checked(document, url, address);
  const document = await firstUsable([...new Map(places).values()], read, io);
  const offered = texts(document?.['scopes_supported']).filter(isScope);
  return {
    /** Identifier of the API as it writes it, for `resource` (RFC 8707); null: no metadata. */
    resource: document === null ? null : String(document['resource']),
    /** Authorization servers of the metadata; empty: it names none. */
    servers: texts(document?.['authorization_servers']),
    /** Scopes of the challenge, else of the metadata. */
    scopes: challenge.scopes.length > 0 ? challenge.scopes : offered,
    /** All scopes that challenge and metadata name. */
    knownScopes: [...new Set([...challenge.scopes, ...offered])],
    /** True if an MCP server accepted `initialize` without a token. */
    isOpen: challenge.isOpen,
  };
}

const wellKnown = '/.well-known/oauth-protected-resource';

/**
 * Returns metadata of the address itself, or of the part of its path that the well-known place stands for
 * (RFC 9728 §3.3). So a tenant of a shared host cannot describe the whole host.
 */
function checked(document: JsonObject, place: URL, address: URL): JsonObject | null {
  const { resource, authorization_servers: servers } = document;
  if (resource === undefined && servers === undefined) return null;
  const { origin, pathname } = place;
  const part = pathname.startsWith(wellKnown) ? `${origin}${pathname.slice(wellKnown.length)}` : null;
  const isPart = part !== null && `${address.href}/`.startsWith(`${part.replace(/\/$/, '')}/`);
  if (isSameIdentifier(resource, address.href) || (isPart && isSameIdentifier(resource, part)))
    return document;
  const other = httpsUrl(resource);
  throw unusable(
    address,
    `${shown(place.href)} describes the resource ${shown(resource)} instead of ${shown(address.href)}`,
    other === null ? undefined : hintOf`if you mean that one: ${remedy('connect', { provider: other.href })}`,
  );
}

interface ApiChallenge {
  readonly metadata: URL | null;
  readonly scopes: readonly string[];
  readonly isOpen: boolean;
}

/** Asks with GET, and as MCP clients do, with `initialize`: many MCP servers answer GET with 404 or 405. */
async function challengeOf(url: URL, io: DocumentIo): Promise<ApiChallenge> {
  const accept = 'application/json, text/event-stream';
  const first = await challenged({ url, isDocument: false, method: 'GET', headers: { accept } }, io);
  if (first.metadata !== null) return first;
  const headers = { accept, 'content-type': 'application/json' };
  const clientInfo = { name: 'sidekey', version: packageVersion() };
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params });
  const second = await challenged({ url, isDocument: false, method: 'POST', headers, body }, io);
  return { ...second, scopes: second.scopes.length > 0 ? second.scopes : first.scopes };
}

/** A failure is no challenge: the well-known places report it. */
async function challenged(question: Parameters<typeof ask>[0], io: DocumentIo): Promise<ApiChallenge> {
  try {
    const { at, status, headers } = await ask(question, io);
    const isOpen = question.method === 'POST' && status === 200;
    return challengeIn(headers.get('www-authenticate') ?? '', at, isOpen);
  } catch (error) {
    const failure = caughtFailure(error);
    if (failure.code === 'address_blocked') throw failure;
    return { metadata: null, scopes: [], isOpen: false };
  }
}

const maxScopes = 40;

/** Reads all challenges of a response (RFC 9728 §5.1). */
function challengeIn(field: string, at: URL, isOpen: boolean): ApiChallenge {
  const parameters = challengesIn(field)
    .filter(({ scheme }) => scheme === 'bearer' || scheme === 'dpop')
    .map((challenge) => challenge.parameters)
    // Image registries name the scopes of another kind of token server.
    .filter((values) => !values.has('service'));
  const addresses = parameters.flatMap((values) => values.get('resource_metadata') ?? []);
  // Some servers write the URL without quotes, where it ends at the colon.
  const quoted = field.slice(0, 8_192).replace(/\b(resource_metadata=)(https:[^\s",]+)/gi, '$1"$2"');
  if (addresses.includes('https') && quoted !== field) return challengeIn(quoted, at, isOpen);
  const scope = parameters.map((values) => values.get('scope')).find((value) => value !== undefined);
  const scopes = (scope ?? '').split(/[\s,]+/).filter(isScope);
  return {
    metadata: addresses.map((text) => httpsUrl(text, at)).find((url) => url !== null) ?? null,
    scopes: [...new Set(scopes)].slice(0, maxScopes),
    isOpen,
  };
}
