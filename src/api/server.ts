import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import {
  approvalRoute,
  type ApprovalRouteParts,
  homePage,
  plainPage,
  unknownPage,
} from '../agents/approvals/pages.ts';
import { readBounded } from '../lib/body.ts';
import {
  type Certificate,
  type CertificateFiles,
  followCertificate,
  readCertificate,
} from '../lib/certificate-files.ts';
import { ConnectionPlaces, endsOf } from '../lib/connection-places.ts';
import { listenFailure, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { browserHeadBytes, type PageAnswer, sendPage, wantsPage } from '../lib/html.ts';
import type { Log } from '../lib/log.ts';
import { type Timers, within } from '../lib/timers.ts';
import { refusalOf, refuseOn } from '../proxy/http/problem.ts';

/** HTTP/1.1 server of the API and the approval pages, at `admin.listen`, with or without `admin.tls`. */

interface AdminParts extends ApprovalRouteParts {
  readonly log: Pick<Log, 'warn'>;
  readonly timers: Timers;
  /** Answers all requests that are not for a link; absent: they are refused. */
  readonly service?: ServiceHandler | undefined;
  /** Certificate of the server; absent: no TLS. */
  readonly tls?: CertificateFiles | undefined;
  /** Returns the URL of the proxy, for programs that use this server as one. */
  readonly proxyUrl: () => string;
}

/** Handles a request, and emits `authenticated` on it when the caller is identified. Never rejects. */
export type ServiceHandler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** The server of the API and the approval pages. */
export type AdminServer = Awaited<ReturnType<typeof createAdminServer>>;

/** Maximum bytes of a form; the longest valid one has 12. */
const maxFormBytes = 1_024;
/** Maximum number of connections, see `ConnectionPlaces`. */
const maxConnections = 256;
/** Milliseconds that a closing server waits for responses in progress. */
const lastPatience = 1_000;

/** Milliseconds within which a request arrives with its body, unless its route emits `streamed`. */
const bodyMs = 10_000;

const serverOptions = {
  maxHeaderSize: browserHeadBytes,
  headersTimeout: 5_000,
  // Node's limit has no exception for streamed bodies. `bodyMs` replaces it.
  requestTimeout: 0,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
  shouldUpgradeCallback: () => false,
};

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * Creates the server, which does not listen yet.
 *
 * @throws SidekeyError `config_invalid` for a certificate that cannot be used
 */
export async function createAdminServer(parts: AdminParts) {
  const underWay = new Set<Promise<void>>();
  const places = new ConnectionPlaces(() => maxConnections);
  const handler: Handler = (request, response) => {
    const late = parts.timers.after(bodyMs, () => void (request.complete || request.destroy()));
    request.once('streamed', late);
    // An answered request may have a body that has not ended.
    request.once('close', late);
    request.once('authenticated', () => places.authenticated(endsOf(request.socket)));
    const work = serve(request, response, parts);
    underWay.add(work);
    void work.finally(() => underWay.delete(work));
  };
  const { server, following } =
    parts.tls === undefined
      ? { server: createServer(serverOptions, handler), following: null }
      : await createTlsServer(parts.tls, handler, parts);
  server.on('clientError', (error: NodeJS.ErrnoException, client) => {
    // Browsers connect ahead of requests, and would take an answer here for that to the next request.
    if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') {
      client.destroy();
      return;
    }
    const isTooLarge = error.code === 'HPE_HEADER_OVERFLOW';
    const sentence = isTooLarge ? 'The head of the request is larger than 1 MiB.' : undefined;
    refuseOn(client, new SidekeyError('bad_request', sentence));
  });
  server.on('connect', (_request, client) => {
    const sentence = 'This port serves the dashboard and the API, and is not the proxy.';
    refuseOn(
      client,
      new SidekeyError('bad_request', sentence, { hint: `set HTTPS_PROXY to ${parts.proxyUrl()}` }),
    );
  });
  server.on('connection', (socket) => {
    if (!places.admit(socket)) socket.destroy();
  });
  // Closes the connection of a client that does not read its response.
  server.setTimeout(30_000);

  let closing: Promise<void> | undefined;
  return {
    /** @throws SidekeyError `port_in_use`, `listen_failed` */
    async listen(host: string, port: number): Promise<{ readonly host: string; readonly port: number }> {
      await once(server.listen({ host, port, exclusive: true }), 'listening').catch(
        (cause: NodeJS.ErrnoException) => {
          throw listenFailure(cause, { host, port, setting: 'admin.listen' });
        },
      );
      // A connection that the system could not accept must not end the process.
      server.on('error', (err) => parts.log.warn({ err }, 'a connection could not be accepted'));
      const { address, port: actual } = server.address() as AddressInfo;
      return { host: address, port: actual };
    },
    /** Waits up to a second for exchanges in progress. Idempotent. */
    close(): Promise<void> {
      closing ??= (async () => {
        following?.[Symbol.dispose]();
        const closed = new Promise<void>((resolve) => {
          server.close(() => resolve());
        });
        await within(parts.timers, Promise.all(underWay), lastPatience);
        server.closeAllConnections();
        await closed;
      })();
      return closing;
    },
  };
}

const minVersion = 'TLSv1.2';

/** Creates a server with TLS, which uses a renewed certificate without a restart. */
async function createTlsServer(
  files: CertificateFiles,
  handler: Handler,
  { log, timers }: Pick<AdminParts, 'log' | 'timers'>,
): Promise<{ readonly server: Server; readonly following: Disposable }> {
  // Loads Node's TLS server; a start without one is faster.
  const { createServer: createSecureServer } = await import('node:https');
  const first = await readCertificate(files);
  const server = createSecureServer(
    { ...serverOptions, ...first, minVersion, handshakeTimeout: 5_000 },
    handler,
  );
  const use = (certificate: Certificate) => server.setSecureContext({ ...certificate, minVersion });
  return { server, following: followCertificate(files, first, { use, log, timers }) };
}

/** Answers a request. Never rejects. */
async function serve(request: IncomingMessage, response: ServerResponse, parts: AdminParts): Promise<void> {
  let answer: PageAnswer | null;
  try {
    const isLink = /^\/approve(?:[/?]|$)/.test(request.url ?? '');
    if (parts.service !== undefined && !isLink) return await parts.service(request, response);
    answer = await answerTo(request, parts);
  } catch (error) {
    if (request.destroyed && !request.complete) return;
    // The path is omitted, because it is a link.
    parts.log.warn({ err: error }, 'a page for people could not be made');
    const status = error instanceof SidekeyError ? error.status : 500;
    answer = plainPage(status, 'Sidekey cannot answer now', ['Try again in a moment; the log says why.']);
  }
  // The rest of a too long form is not read, so the connection cannot be reused.
  if (!request.complete) response.shouldKeepAlive = false;
  await sendPage(request, response, answer ?? otherPage(request));
}

async function answerTo(request: IncomingMessage, parts: AdminParts): Promise<PageAnswer | null> {
  const { method, url = '' } = request;
  // The query is ignored, because programs that forward links may add to it.
  const [path = ''] = url.split('?', 1);
  const from = peerOf(request.socket);
  if (method === 'GET' || method === 'HEAD') return approvalRoute({ path, form: null, from }, parts);
  if (method !== 'POST') return null;
  const body = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  const form = (await readBounded(body, maxFormBytes))?.toString('utf8') ?? null;
  if (form === null) return plainPage(413, 'This is not an answer', ['The form is too long.']);
  return approvalRoute({ path, form, from }, parts);
}

/** Answers a request that is not for a link: a page for browsers, a problem document for programs. */
function otherPage({ url = '', headers: { accept } }: IncomingMessage): PageAnswer {
  const isLink = url.startsWith('/approve');
  if (wantsPage(accept)) return isLink ? unknownPage() : url === '/' ? homePage(200) : homePage(404);
  const why = isLink ? 'This approval link is not valid.' : 'This port serves the pages of approvals only.';
  const { status, body } = refusalOf(
    new SidekeyError('not_found', why, {
      hint: hintOf`open the whole link, or answer with: ${remedy('approval.answer')}`,
    }),
  );
  return { status, headers: { 'content-type': 'application/problem+json' }, body: body.toString() };
}

function peerOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  const address = remoteAddress.replace(/^::ffff:/, '');
  return `${address.includes(':') ? `[${address}]` : address}:${remotePort}`;
}
