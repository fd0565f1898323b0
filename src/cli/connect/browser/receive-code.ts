import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type FinishPage, pageAnswer } from './browser.ts';
import type { PasteExpectation } from '../../../operations/connect/consent.ts';
import { defaultPort, loopbackUri, type RedirectTarget } from '../../../operations/connect/redirect.ts';
import type { Lines } from '../../terminal.ts';
import { isSystemError, SidekeyError, systemCode } from '../../../lib/errors.ts';
import { withHint } from '../../../lib/hint.ts';
import { browserHeadBytes, type PageAnswer, sendPage } from '../../../lib/html.ts';
import { type Callback, parseCallback } from '../../../grants/oauth/authorization-code.ts';

/** First address of a browser, and the callback that it brings later, if any. */
interface Expected {
  /** Returns the first address for the browser. Called once. */
  readonly launched: (socket: Socket) => Promise<string>;
  readonly callback?: ExpectedCallback;
}

interface ExpectedCallback {
  readonly state: string;
  /** Called once, with the parameters of the callback. Returns the response page. */
  readonly answered: (parameters: URLSearchParams) => Promise<FinishPage>;
  /** Called for callbacks of other flows. */
  readonly stranger?: () => void;
}

type LoopbackTarget = Extract<RedirectTarget, { readonly kind: 'loopback' }>;

/** Opens a listener on the loopback interface. @throws SidekeyError `port_in_use`, `listen_failed` */
export async function openLoopback(target: LoopbackTarget) {
  let expected: Expected | null = null;
  let redirectUri = '';
  let launch = '';
  let isLaunched = false;
  let isAnswered = false;

  async function answerTo(request: IncomingMessage): Promise<PageAnswer> {
    const own = new URL(redirectUri);
    // Requires a loopback Host field, as protection against DNS rebinding.
    if (expected === null || request.headers.host?.toLowerCase() !== own.host) return nothingHere;
    const url = request.url?.startsWith('/') === true ? URL.parse(own.origin + request.url) : null;
    if (url?.pathname === launch) {
      if (isLaunched) return launchedAlready;
      isLaunched = true;
      const { headers } = nothingHere;
      const location = await expected.launched(request.socket);
      return { status: 302, headers: { ...headers, location }, body: '' };
    }
    const { callback } = expected;
    if (callback === undefined || url?.pathname !== own.pathname) return nothingHere;
    if (request.method !== 'GET') return onlyGet;
    if (!isSame(url.searchParams.getAll('state'), callback.state)) {
      callback.stranger?.();
      return notOfThisFlow;
    }
    if (isAnswered) return onlyOnce;
    isAnswered = true;
    return pageAnswer(await callback.answered(url.searchParams));
  }

  const servers: Server[] = [];
  const underWay = new Set<Promise<void>>();
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    response.shouldKeepAlive = false;
    const done = answerTo(request)
      .catch(() => nothingHere)
      .then((answer) => sendPage(request, response, answer));
    underWay.add(done);
    void done.finally(() => underWay.delete(done));
  };

  const hosts = target.host === 'localhost' ? ['127.0.0.1', '::1'] : [target.host.replace(/[[\]]/g, '')];
  let port = target.port;
  for (const host of hosts) {
    const server = await listening(serve, host, port).catch((error: unknown) => {
      // Without IPv6 on this machine, browsers cannot use that address either.
      if (servers.length > 0 && isSystemError(error, 'EADDRNOTAVAIL', 'EAFNOSUPPORT')) return null;
      for (const other of servers) other.close();
      throw failure(error, host, port ?? 0);
    });
    if (server === null) continue;
    servers.push(server);
    port = (server.address() as AddressInfo).port;
  }
  redirectUri = loopbackUri(target, port ?? 0);

  let closing: Promise<void> | undefined;
  return {
    redirectUri,
    /**
     * Starts to accept callbacks.
     *
     * @returns a URL of this listener that redirects once to the first address. Other users may read it, for
     * example in program arguments, whereas the first address contains a secret.
     */
    expect(wanted: Expected): string {
      expected = wanted;
      launch = `/${randomBytes(24).toString('base64url')}`;
      return new URL(launch, redirectUri).href;
    },
    /** Finishes the pending response, and closes. Idempotent. */
    close(): Promise<void> {
      closing ??= (async () => {
        await Promise.all(underWay);
        await Promise.all(
          servers.map((server) => {
            const closed = server[Symbol.asyncDispose]();
            server.closeAllConnections();
            return closed;
          }),
        );
      })();
      return closing;
    },
  };
}

/** @param port null: the default port, or any free port if that is taken */
async function listening(
  serve: (request: IncomingMessage, response: ServerResponse) => void,
  host: string,
  port: number | null,
): Promise<Server> {
  const limits = { maxHeaderSize: browserHeadBytes, requestTimeout: 10_000, headersTimeout: 10_000 };
  const server = createServer(limits, serve);
  server.maxConnections = 256;
  const attempt = (wanted: number) =>
    once(server.listen({ host, port: wanted, exclusive: true }), 'listening');
  if (port !== null) await attempt(port);
  else await attempt(defaultPort).catch(() => attempt(0));
  return server;
}

function isSame(said: readonly string[], state: string): boolean {
  const [only = ''] = said;
  return (
    said.length === 1 && timingSafeEqual(hash('sha256', only, 'buffer'), hash('sha256', state, 'buffer'))
  );
}

const failed = (status: number, title: string, ...says: readonly string[]): PageAnswer =>
  pageAnswer({ kind: 'failed', title, says }, status);

const nothingHere = failed(404, 'Nothing is here', 'There is no page at this address.');

const notGet = failed(
  405,
  'Not understood',
  'Only a browser that comes back from a provider is answered here.',
);

const onlyGet = { ...notGet, headers: { ...notGet.headers, allow: 'GET' } };

const notOfThisFlow = failed(
  400,
  'Not the answer that is waited for',
  'This address does not belong to the consent that Sidekey waits for. Nothing was changed, and Sidekey still waits.',
  'Go on in the window that Sidekey opened, or run the command again.',
);

const launchedAlready = failed(
  400,
  'Opened already',
  'This link works once, and has been opened already.',
  'If that was not you, end the command in the terminal with Ctrl-C, and begin again.',
);

const onlyOnce = failed(
  400,
  'Answered already',
  'This answer has arrived once, and counts once. The terminal says what came of it.',
);

function failure(error: unknown, host: string, port: number): SidekeyError {
  if (isSystemError(error, 'EADDRINUSE')) {
    return new SidekeyError('port_in_use', `The port ${port} of ${host} is in use by another program.`, {
      hint: 'name another with --port, or end that program; --paste needs no port',
      cause: error,
    });
  }
  return new SidekeyError('listen_failed', `Cannot listen on ${host}:${port} (${systemCode(error)}).`, {
    hint: 'name another port with --port; --paste needs none',
    cause: error,
  });
}

/**
 * Parses a pasted response. Errors omit the text.
 *
 * @throws SidekeyError `input_invalid`; `bad_request` if it belongs to another consent
 */
function readPasted(
  text: string,
  { state, takesBareCode, read = parseCallback }: PasteExpectation,
): Callback {
  const callback = read(text);
  if (callback.kind === 'code') {
    if (takesBareCode) return callback;
    throw new SidekeyError('input_invalid', 'This provider needs more than the code.', {
      hint: 'paste the complete address from the address bar of the browser',
    });
  }
  const said = callback.parameters.getAll('state');
  if (said.length === 1 && said[0] === state) return callback;
  throw new SidekeyError('bad_request', 'What was pasted is the answer to another consent.', {
    hint: 'open the address that was shown last, then paste the address that the browser ends at',
  });
}

/**
 * Returns the first line that answers this consent; null: the user gave up. On a terminal, prompts again
 * after an invalid line.
 *
 * @throws SidekeyError as `readPasted`, if standard input is not a terminal
 */
export async function askForAnswer(
  lines: Lines,
  say: (text: string) => void,
  expected: PasteExpectation,
): Promise<Callback | null> {
  for (;;) {
    const line = await lines.next('Paste the address that the browser came to, or the code: ');
    if (line === null) {
      if (lines.isTerminal) return null;
      throw new SidekeyError('input_invalid', 'Standard input ended before an answer came.', {
        hint: 'write the address that the browser came to, or the code, as one line',
      });
    }
    if (line.trim() === '') continue;
    try {
      return readPasted(line, expected);
    } catch (error) {
      if (!lines.isTerminal || !(error instanceof SidekeyError)) throw error;
      say(withHint(error.message, error.hint));
    }
  }
}
