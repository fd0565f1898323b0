import { EventEmitter } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { developmentPki, issueLeaf, makeAuthority, validFor } from './certificate.ts';
import { openDatabase, type SqliteDatabase } from './database.ts';
import { listen, type Listener } from './listener.ts';
import { openOAuthState } from './oauth-state.ts';
import { createProvider, publicClient, sidekeyClient, type ClientMetadata } from './provider.ts';
import { Refusal, replyRefusal } from './reply.ts';
import { createRoutes } from './routes.ts';
import { openTickets } from './tickets.ts';
import { tokenEndpoint, type TokenFailureHook } from './token-endpoint.ts';

/** The secret of the client `sidekey` where no other is given. It is public: the company is a sample. */
export const demoClientSecret = 'acme-demo-secret';

/** How a helpdesk is set up; everything has a default that suits a test. */
export interface HelpdeskOptions {
  /** Address to listen on. */
  readonly host?: string;
  /** 0: any free port. */
  readonly port?: number;
  /** The name that clients reach it by: in the issuer, and in the certificate. */
  readonly issuerHost?: string;
  /**
   * PEM. Without it, a fresh authority and leaf are made. `ca`: what clients trust, where `cert` is not that.
   */
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca?: string };
  /**
   * Lifetime of access tokens, in whole seconds. It counts from the last full second: the end may come up to
   * one early.
   */
  readonly accessTokenTtl?: number;
  readonly clientSecret?: string;
  /** More redirect URIs for the client `sidekey`, besides those of the command line and the dashboard. */
  readonly redirectUris?: readonly string[];
  /** More clients. */
  readonly clients?: readonly ClientMetadata[];
  /** Path of an SQLite file; without it nothing outlives the process. */
  readonly database?: string;
  /** What time tickets are stamped with, in milliseconds. Tokens follow the machine's clock. */
  readonly now?: () => number;
  /** Told of faults in the helpdesk itself. Default: written to stderr. */
  readonly onError?: (error: unknown) => void;
}

/** One request as it arrived. */
export interface ReceivedRequest {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly method: string;
  /** The request target, unchanged. */
  readonly url: string;
  readonly httpVersion: string;
  readonly headers: IncomingHttpHeaders;
  /** Names and values in turn, as sent. */
  readonly rawHeaders: readonly string[];
}

/** A running helpdesk. */
export interface Helpdesk {
  readonly host: string;
  readonly port: number;
  /** `https://ISSUERHOST:PORT` */
  readonly issuer: string;
  /** PEM of what clients must trust. */
  readonly caCertificate: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Emits `request` for each request of any kind, as soon as its head is in. */
  readonly requests: EventEmitter<{ request: [ReceivedRequest] }>;
  /** Lifetime in whole seconds of access tokens made from now on. */
  setAccessTokenTtl(seconds: number): void;
  /** Lets the time of every access token be up now; refresh tokens stay. Returns how many there were. */
  expireAllAccessTokens(): number;
  /** Makes the API refuse every access token though its time is not up; refresh tokens stay. */
  revokeAllAccessTokens(): number;
  /** Requests that the token endpoint received, of one `grant_type` or of all. */
  tokenRequestCount(grantType?: string): number;
  /** Makes the token endpoint fail, until it is called with null. */
  failTokenEndpoint(hook: TokenFailureHook | null): void;
  /** Ends every connection. */
  close(): Promise<void>;
}

/** Starts the sample company's API with its OAuth server. */
export async function startHelpdesk(options: HelpdeskOptions = {}): Promise<Helpdesk> {
  const { host = '127.0.0.1', port = 0, issuerHost = 'helpdesk.acme.test' } = options;
  const tls = options.tls ?? freshCertificate(issuerHost);
  const listener = await listen({ host, port, tls });
  let database: SqliteDatabase | undefined;
  try {
    database = openDatabase(options.database);
    const authority = listener.port === 443 ? issuerHost : `${issuerHost}:${listener.port}`;
    const caCertificate = tls.ca ?? tls.cert;
    return await serve(listener, database, { ...options, host, authority, caCertificate });
  } catch (error) {
    await listener.close();
    database?.close();
    throw error;
  }
}

interface Setup extends HelpdeskOptions {
  readonly host: string;
  readonly authority: string;
  readonly caCertificate: string;
}

async function serve(listener: Listener, database: SqliteDatabase, setup: Setup): Promise<Helpdesk> {
  const { authority, host, caCertificate, clientSecret = demoClientSecret, onError = reportToStderr } = setup;
  let ttl = wholeSeconds(setup.accessTokenTtl ?? 300);
  let closed = false;
  const reportFault = (error: unknown): void => {
    // A request that was cut off by `close` finds its database gone.
    if (!closed && !isDisconnect(error)) onError(error);
  };

  const state = openOAuthState(database);
  const tickets = openTickets(database, setup.now ?? Date.now);
  const issuer = `https://${authority}`;
  const redirectUris = setup.redirectUris ?? [];
  const clients = [
    sidekeyClient(clientSecret, redirectUris),
    publicClient(redirectUris),
    ...(setup.clients ?? []),
  ];
  const provider = createProvider({
    issuer,
    clients,
    adapter: state.adapter,
    accessTokenTtl: () => ttl,
    onError: reportFault,
  });
  const oauth = provider.callback();
  const token = tokenEndpoint(oauth, (request) => listener.breakConnection(request));
  const handle = createRoutes({ authority, provider, oauth, token, tickets });
  const requests: Helpdesk['requests'] = new EventEmitter();

  const fail = (response: ServerResponse, error: unknown): void => {
    if (!(error instanceof Refusal)) reportFault(error);
    if (response.headersSent) response.destroy();
    else replyRefusal(response, error instanceof Refusal ? error : internalError());
  };
  listener.server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const { method = '', url = '', httpVersion, headers, rawHeaders } = request;
    requests.emit('request', { at: Date.now(), method, url, httpVersion, headers, rawHeaders });
    handle(request, response).catch((error: unknown) => fail(response, error));
  });
  // The provider looks at a client when it is first used; a bad one should not wait for that.
  for (const client of clients) await provider.Client.find(client.client_id);

  return {
    host,
    port: listener.port,
    issuer,
    caCertificate,
    clientId: 'sidekey',
    clientSecret,
    requests,
    setAccessTokenTtl(seconds) {
      ttl = wholeSeconds(seconds);
    },
    expireAllAccessTokens: () => state.expireAccessTokens(),
    revokeAllAccessTokens: () => state.revokeAccessTokens(),
    tokenRequestCount: (grantType) => token.count(grantType),
    failTokenEndpoint: (hook) => token.failWith(hook),
    async close() {
      closed = true;
      await listener.close();
      requests.removeAllListeners();
      if (database.isOpen) database.close();
    },
  };
}

function freshCertificate(host: string): { key: string; cert: string; ca: string } {
  const validity = validFor(developmentPki.leafDays, Date.now());
  const authority = makeAuthority(developmentPki.commonName, validity);
  return { ...issueLeaf(authority, host, validity), ca: authority.cert };
}

function internalError(): Refusal {
  return new Refusal(500, 'server_error', 'The helpdesk failed; the fault is in its log.');
}

function wholeSeconds(seconds: number): number {
  if (Number.isSafeInteger(seconds) && seconds > 0) return seconds;
  throw new RangeError(`An access token lives for a whole number of seconds above zero, not ${seconds}.`);
}

/** Whether a failure only says that the client went away. */
function isDisconnect(error: unknown): boolean {
  const { code = '' } = (error ?? {}) as { code?: string };
  return ['ECONNRESET', 'EPIPE', 'ECONNABORTED', 'ERR_STREAM_PREMATURE_CLOSE'].includes(code);
}

function reportToStderr(error: unknown): void {
  process.stderr.write(
    `helpdesk: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
}
