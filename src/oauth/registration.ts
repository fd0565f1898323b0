/** Dynamic client registration (RFC 7591): Sidekey makes itself known to a server that lets it. */
import * as oauth from 'oauth4webapi';
import { SidekeyError } from '../errors.ts';
import type { ClientAuth } from '../grants/provider.ts';
import { boundedFetch, type DocumentIo } from './bounded-fetch.ts';
import { describe, describeFault, errorCode, findSidekeyError, withDescription } from './description.ts';

/** What is registered. */
export interface Registration {
  /** An https URL. */
  readonly endpoint: string;
  /** Exactly these may be used later. */
  readonly redirectUris: readonly string[];
  readonly grantTypes: readonly string[];
  /** What the server takes at its token endpoint; empty: it does not say, which means basic (RFC 8414 §2). */
  readonly authMethods: readonly string[];
  readonly scopes: readonly string[];
}

/** The client as the server has it. */
export interface RegisteredClient {
  readonly clientId: string;
  readonly clientSecret: string | null;
  readonly auth: ClientAuth;
}

/**
 * Registers a client: a public one where the server takes such, because a secret that is registered on the spot proves
 * nothing about who uses it (RFC 8252 §8.4).
 *
 * @throws SidekeyError `provider_refused`: the server says no, or gave no usable client; `upstream_unreachable`,
 * `address_blocked`
 */
export async function registerClient(registration: Registration, io: DocumentIo): Promise<RegisteredClient> {
  const { endpoint, authMethods } = registration;
  const { host, origin } = new URL(endpoint);
  const isPublic = authMethods.includes('none');
  const method =
    isPublic || authMethods.includes('client_secret_basic') || authMethods.length === 0
      ? isPublic
        ? 'none'
        : 'client_secret_basic'
      : 'client_secret_post';
  let response: Response;
  try {
    response = await oauth.dynamicClientRegistrationRequest(
      { issuer: origin, registration_endpoint: endpoint },
      {
        client_name: 'Sidekey',
        application_type: 'native',
        redirect_uris: [...registration.redirectUris],
        grant_types: [...registration.grantTypes],
        response_types: registration.grantTypes.includes('authorization_code') ? ['code'] : [],
        token_endpoint_auth_method: method,
        ...(registration.scopes.length === 0 ? {} : { scope: registration.scopes.join(' ') }),
      },
      {
        [oauth.customFetch]: boundedFetch(io),
        ...(io.signal === undefined ? {} : { signal: io.signal }),
      },
    );
  } catch (error) {
    const ours = findSidekeyError(error);
    if (ours !== null) throw ours;
    throw new SidekeyError('upstream_unreachable', `${host} did not answer: ${describeFault(error)}.`, {
      hint: 'try again later',
    });
  }
  let client: oauth.OmitSymbolProperties<oauth.Client>;
  try {
    client = await oauth.processDynamicClientRegistrationResponse(response);
  } catch (error) {
    throw refused(host, reasonOf(error, response.status));
  }
  const { client_id: clientId, client_secret: secret, token_endpoint_auth_method: said } = client;
  if (!/^[\x20-\x7e]+$/.test(clientId)) throw refused(host, 'the client id is not printable');
  const clientSecret = typeof secret === 'string' && secret !== '' ? secret : null;
  // RFC 7591 §3.2.1: the server may have put another method in place of the one that was asked for.
  const auth = authOf(typeof said === 'string' ? said : method);
  if (auth === null) throw refused(host, 'it wants a way of client authentication that Sidekey has not');
  if (auth !== 'none' && clientSecret === null) throw refused(host, 'it gave no client secret');
  return { clientId, clientSecret: auth === 'none' ? null : clientSecret, auth };
}

function authOf(method: string): ClientAuth | null {
  switch (method) {
    case 'none':
      return 'none';
    case 'client_secret_basic':
      return 'basic';
    case 'client_secret_post':
      return 'post';
    default:
      return null;
  }
}

function reasonOf(error: unknown, status: number): string {
  if (!(error instanceof oauth.ResponseBodyError)) return `it answered HTTP ${status}`;
  return withDescription(errorCode(error.error, []), describe(error.error_description ?? '', []));
}

function refused(host: string, reason: string): SidekeyError {
  return new SidekeyError('provider_refused', `${host} did not register a client (${reason}).`, {
    hint: 'register one by hand, and give its id: --client-id ID --client-secret env:NAME',
  });
}
