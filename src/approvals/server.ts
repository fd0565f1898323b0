/** The server of the pages for people: HTTP/1.1 in the clear, for this machine or for the proxy with TLS before it. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { listenFailure, SidekeyError } from '../lib/errors.ts';
import type { PageAnswer } from '../lib/html.ts';
import type { Log } from '../lib/log.ts';
import { type Timers, within } from '../lib/timers.ts';
import { approvalRoute, type ApprovalRouteParts, plainPage } from './pages.ts';

/** Parts of the server. */
interface AdminParts extends ApprovalRouteParts {
  readonly log: Pick<Log, 'warn'>;
  readonly timers: Timers;
}

/** The server of the pages for people. */
export interface AdminServer {
  /** @throws SidekeyError `port_in_use`, `listen_failed` */
  listen(host: string, port: number): Promise<{ readonly host: string; readonly port: number }>;
  /** Lets what is under way end, for a moment. Idempotent. */
  close(): Promise<void>;
}

/** Bytes of a form; the longest right one has 12. */
const maxFormBytes = 1_024;
/** Connections at once: people are few. */
const maxConnections = 64;
/** Milliseconds that answers have to leave when the server closes. */
const lastPatience = 1_000;

/** Does not listen yet. */
export function createAdminServer(parts: AdminParts): AdminServer {
  const underWay = new Set<Promise<void>>();
  const server = createServer(
    {
      maxHeaderSize: 16_384,
      headersTimeout: 5_000,
      requestTimeout: 10_000,
      keepAliveTimeout: 5_000,
      connectionsCheckingInterval: 1_000,
      shouldUpgradeCallback: () => false,
    },
    (request, response) => {
      const work = serve(request, response, parts);
      underWay.add(work);
      void work.finally(() => underWay.delete(work));
    },
  );
  server.maxConnections = maxConnections;
  // Whoever does not take an answer does not keep its connection.
  server.setTimeout(30_000);

  let closing: Promise<void> | undefined;
  return {
    async listen(host, port) {
      await new Promise<void>((resolve, reject) => {
        const failed = (cause: Error) =>
          reject(listenFailure(cause, { host, port, setting: 'admin.listen' }));
        server.once('error', failed).listen({ host, port, exclusive: true }, () => {
          server.off('error', failed);
          resolve();
        });
      });
      const { address, port: actual } = server.address() as AddressInfo;
      return { host: address, port: actual };
    },
    close() {
      closing ??= (async () => {
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

/** Never rejects. */
async function serve(request: IncomingMessage, response: ServerResponse, parts: AdminParts): Promise<void> {
  let answer: PageAnswer | null;
  try {
    answer = await answerTo(request, parts);
  } catch (error) {
    if (request.destroyed && !request.complete) return;
    // Its path is a link, so it is not said which.
    parts.log.warn({ err: error }, 'a page for people could not be made');
    const status = error instanceof SidekeyError ? error.status : 500;
    answer = plainPage(status, 'Sidekey cannot answer now', ['Try again in a moment; the log says why.']);
  }
  await write(request, response, answer ?? { status: 404, headers: {}, body: '' });
}

async function answerTo(request: IncomingMessage, parts: AdminParts): Promise<PageAnswer | null> {
  const { method, url = '' } = request;
  // Programs that pass links on add to their query.
  const [path = ''] = url.split('?', 1);
  const from = peerOf(request.socket);
  if (method === 'GET' || method === 'HEAD') return approvalRoute({ path, form: null, from }, parts);
  if (method !== 'POST') return null;
  const form = await formOf(request);
  if (form === null) return plainPage(413, 'This was no answer', ['It is too long for one.']);
  return approvalRoute({ path, form, from }, parts);
}

/** Null: it is too long. */
async function formOf(request: IncomingMessage): Promise<string | null> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size > maxFormBytes) return null;
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function peerOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  const address = remoteAddress.replace(/^::ffff:/, '');
  return `${address.includes(':') ? `[${address}]` : address}:${remotePort}`;
}

/** Resolves when the answer has left, or the browser is gone. */
function write(
  request: IncomingMessage,
  response: ServerResponse,
  { status, headers, body }: PageAnswer,
): Promise<void> {
  return new Promise((resolve) => {
    if (response.destroyed) {
      resolve();
      return;
    }
    response.once('close', () => resolve());
    const length = Buffer.byteLength(body);
    // The rest of a form that is too long is not read.
    const connection = request.complete ? {} : { connection: 'close' };
    response.writeHead(status, { ...headers, ...connection, 'content-length': length });
    response.end(request.method === 'HEAD' ? undefined : body);
  });
}
