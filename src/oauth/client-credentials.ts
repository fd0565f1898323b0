import type { Dialect } from '../grants/dialect.ts';
import { askTokenEndpoint, type TokenAnswer, type TokenClient, type TokenIo } from './token-endpoint.ts';

/** One token for the client itself (RFC 6749 §4.4). */
export interface ClientCredentialsRequest {
  /** An https URL. */
  readonly endpoint: string;
  readonly client: TokenClient;
  readonly dialect: Dialect;
  /** As it is sent; null: none is named, and the provider chooses. */
  readonly scope: string | null;
  /** Sent as they are (`audience`, `resource` …). */
  readonly parameters: Readonly<Record<string, string>>;
}

/** Asks for a token. Never rejects for what a provider or a network may do. */
export function requestClientCredentials(
  { endpoint, client, dialect, scope, parameters }: ClientCredentialsRequest,
  io: TokenIo,
): Promise<TokenAnswer> {
  return askTokenEndpoint(
    {
      endpoint,
      client,
      dialect,
      grantType: 'client_credentials',
      parameters: { ...parameters, ...(scope === null ? {} : { scope }) },
      secrets: [],
    },
    io,
  );
}
