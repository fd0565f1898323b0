import type * as oauth from 'oauth4webapi';
import { inputInvalid } from '../../lib/errors.ts';
import { type Hint, hintOf, remedy } from '../../lib/hint.ts';
import type { DocumentIo, JsonObject } from './http.ts';
import { firstUsable, httpsUrl, isSameIdentifier, shown, texts, unusable } from './published.ts';

/** The authorization server of an API, and its metadata (RFC 8414, OpenID Connect Discovery 1.0). */

/** A person's choice of the authorization server. */
export interface ServerChoice {
  /** Issuer that the person trusts; undefined: the one that the API names. */
  readonly issuer?: string | undefined;
  /** Prompts for one of several servers. Absent, or undefined as result: the person must name one. */
  readonly choose?: ((servers: readonly string[]) => Promise<string | undefined>) | undefined;
}

/**
 * Returns the servers to ask for their metadata, the most likely first.
 *
 * @param listed servers that the API names
 * @throws SidekeyError `input_invalid`: several, and none is chosen; `provider_refused`: none is https
 */
export async function serversToAsk(
  address: URL,
  listed: readonly string[],
  { issuer, choose }: ServerChoice,
): Promise<readonly [URL, ...URL[]]> {
  const servers = listed.slice(0, maxServers).flatMap((server) => httpsUrl(server) ?? []);
  if (listed.length > 0 && servers.length === 0)
    throw unusable(address, 'its authorization server is not an https URL');
  const [first, ...more] = servers;
  if (issuer !== undefined) {
    const trusted = httpsUrl(issuer);
    if (trusted === null) {
      throw inputInvalid('--issuer is not an https address.', '--issuer https://login.example.com');
    }
    const chosen = servers.find((server) => isSameIdentifier(server.href, issuer));
    return chosen === undefined ? [trusted, ...servers, ...unlisted(address, first)] : [chosen];
  }
  if (first === undefined || more.length === 0) return [first ?? address, ...unlisted(address, first)];
  const names = servers.map(({ href }) => href);
  const chosen = httpsUrl(await choose?.(names));
  if (chosen !== null) return [chosen];
  const one = remedy('connect', { provider: address.href, issuer: first.href });
  throw inputInvalid(
    `${address.host} takes tokens of several login servers: ${names.map(shown).join(', ')}.`,
    hintOf`name the one where you have an account, such as: ${one}`,
  );
}

/** A longer list would have other hosts asked in the name of this machine. */
const maxServers = 10;

/** Before RFC 9728, an API was its own authorization server, usually for the whole origin. */
function unlisted(address: URL, listed: URL | undefined): readonly URL[] {
  return listed === undefined ? [address, new URL(address.origin)] : [];
}

/**
 * Reads the metadata of the first server that has usable ones; null: none has any. They must name the issuer
 * that they were requested for (RFC 8414 §3.3), so no server can impersonate another, and PKCE with S256.
 *
 * @param issuer issuer that the person trusts, wherever the document is
 * @throws SidekeyError `provider_refused`, `address_blocked`, `upstream_unreachable`
 */
export function authorizationServer(
  address: URL,
  servers: readonly URL[],
  issuer: string | undefined,
  io: DocumentIo,
): Promise<oauth.AuthorizationServer | null> {
  const read = (document: JsonObject, { url, server }: Place): oauth.AuthorizationServer | null => {
    if (document['issuer'] === undefined && document['token_endpoint'] === undefined) return null;
    const named = document['issuer'] ?? issuer;
    if (typeof named !== 'string' || !isSameIdentifier(named, issuer ?? server)) {
      const reason = `${shown(url.href)} names the issuer ${shown(named)} instead of ${shown(issuer ?? server)}`;
      throw unusable(url, reason, trusting(address, named ?? server));
    }
    // RFC 9207: the issuer in the response proves who sent the code, not where the document sends it.
    if (issuer !== undefined && !isSameIdentifier(server, issuer) && originsOf(document).size > 1) {
      const reason = `${shown(url.href)} is not at the issuer ${shown(issuer)}, and its endpoints are on several hosts`;
      throw unusable(url, reason);
    }
    const methods = document['code_challenge_methods_supported'] ?? null;
    const isWithout = document['authorization_endpoint'] !== undefined && !texts(methods).includes('S256');
    // Entra ID and Cognito check PKCE without saying so. MCP forbids to assume that.
    if (isWithout && (methods !== null || issuer === undefined)) {
      const reason = `${shown(url.href)} does not say that the server checks PKCE with S256`;
      throw unusable(url, reason, methods === null ? trusting(address, named) : undefined);
    }
    return { ...document, issuer: named };
  };
  return firstUsable(servers.flatMap(placesOf), read, io);
}

/** Endpoints that a code, a refresh token or a secret of the client passes through. */
const endpoints = ['authorization', 'token', 'device_authorization', 'revocation', 'registration'];

function originsOf(document: JsonObject): ReadonlySet<string> {
  return new Set(endpoints.flatMap((name) => httpsUrl(document[`${name}_endpoint`])?.origin ?? []));
}

function trusting(address: URL, issuer: unknown): Hint | undefined {
  const trusted = httpsUrl(issuer);
  const command = remedy('connect', { provider: address.href, issuer: trusted?.href });
  return trusted === null ? undefined : hintOf`if you trust that server with this login: ${command}`;
}

interface Place {
  readonly url: URL;
  /** The server that the place stands for. */
  readonly server: string;
}

/** Returns the places of the MCP specification in its order, then where some servers have it instead. */
function placesOf({ href: server, origin, pathname }: URL): readonly Place[] {
  const kinds = /\/\.well-known\/(?:oauth-authorization-server|openid-configuration)(?=\/|$)/;
  // The address of the document itself stands for its server.
  const path = pathname.replace(kinds, '').replace(/\/$/, '');
  const places = [
    `/.well-known/oauth-authorization-server${path}`,
    `/.well-known/openid-configuration${path}`,
    `${path}/.well-known/openid-configuration`,
    `${path}/.well-known/oauth-authorization-server`,
  ];
  const stands = path === pathname ? server : `${origin}${path}`;
  return [...new Set(places)].map((place) => ({ url: new URL(`${origin}${place}`), server: stands }));
}
