import { timingSafeEqual } from 'node:crypto';
import { valuesOf } from './http/fields.ts';
import type { RequestHead } from './http/head.ts';
import type { Reply } from './http/message.ts';
import { refuse } from './http/problem.ts';
import { SidekeyError } from '../lib/errors.ts';
import { markup, type PageAnswer, renderPage, wantsPage } from '../lib/html.ts';
import { asTyped } from '../lib/command-name.ts';
import { hasBaseUrl } from './base-url.ts';
import { parseAuthority } from './policy/authority.ts';

/** Parts of the answers. */
export interface OwnAnswerParts {
  /** Id of this Sidekey in the response to a health check. */
  readonly instance: string;
  /** Text that the health check of a command adds, and its target, a secret of the commands. */
  readonly report: { readonly target: string; readonly read: () => Promise<string> };
  /** Returns why requests cannot be served, for `GET /readyz`; null: they can. */
  readonly readiness: () => Promise<SidekeyError | null>;
}

const ready = Buffer.from('{"status":"ready"}\n');

/** Answers requests to the proxy itself, which have an origin-form target outside a tunnel. */
export class OwnAnswers {
  readonly #parts: OwnAnswerParts;
  readonly #reportTarget: Buffer;
  readonly #healthy: Buffer;

  constructor(parts: OwnAnswerParts) {
    this.#parts = parts;
    this.#reportTarget = Buffer.from(parts.report.target);
    this.#healthy = this.#health();
  }

  #health(sealed?: string): Buffer {
    return Buffer.from(`${JSON.stringify({ status: 'ok', instance: this.#parts.instance, sealed })}\n`);
  }

  /** Answers a request that reads the store, and resolves when it is answered. Null: it is another one. */
  answerByStore(head: RequestHead, reply: Reply): Promise<void> | null {
    if (isSame(this.#reportTarget, head.target)) return this.#answerReport(head.method, reply);
    if (head.target === '/readyz' && isRead(head.method)) return this.#answerReadiness(head.method, reply);
    return null;
  }

  async #answerReport(method: string, reply: Reply): Promise<void> {
    // The proxy serves, also where its store is away.
    const read = this.#parts.report.read().then((sealed) => this.#health(sealed));
    answerHealth(method, reply, await read.catch(() => this.#healthy));
  }

  async #answerReadiness(method: string, reply: Reply): Promise<void> {
    const why = await this.#parts.readiness();
    if (why === null) answerHealth(method, reply, ready);
    else refuse(reply, why, method);
  }

  /**
   * Answers any other request to the proxy itself. Returns whether it was one. `GET /healthz` is for health
   * checks, and reports only that this Sidekey serves.
   */
  answer(head: RequestHead, reply: Reply): boolean {
    const { method, target, fields: received } = head;
    if (!target.startsWith('/') || hasBaseUrl(head)) return false;
    if (target === '/healthz' && isRead(method)) {
      answerHealth(method, reply, this.#healthy);
      return true;
    }
    if (isRead(method) && wantsPage(valuesOf(received, 'accept')[0])) {
      const { status, headers, body } = selfPage(target === '/' ? 200 : 404);
      const fields = [...Object.entries(headers).flat(), 'Content-Length', String(Buffer.byteLength(body))];
      reply.head(status, status === 200 ? 'OK' : 'Not Found', fields);
      if (method !== 'HEAD') reply.write(Buffer.from(body));
      reply.end([]);
      return true;
    }
    const [host = ''] = valuesOf(received, 'host');
    const name = parseAuthority(host, 'http') === null ? 'a web server' : `the server of ${host}`;
    const why = new SidekeyError('bad_request', `This is a proxy, and not ${name}.`, {
      hint: 'set HTTPS_PROXY to this address, or use curl -x',
    });
    refuse(reply, why, method);
    return true;
  }
}

function answerHealth(method: string, reply: Reply, body: Buffer): void {
  const fields = ['Content-Type', 'application/json', 'Content-Length', String(body.length)];
  reply.head(200, 'OK', [...fields, 'Cache-Control', 'no-store']);
  if (method !== 'HEAD') reply.write(body);
  reply.end([]);
}

function isRead(method: string): boolean {
  return method === 'GET' || method === 'HEAD';
}

/** Compares in constant time. */
function isSame(secret: Buffer, text: string): boolean {
  return text.length === secret.length && timingSafeEqual(Buffer.from(text, 'latin1'), secret);
}

/** The page for a person who opens the proxy in a browser. */
function selfPage(status: number): PageAnswer {
  const commands = ['sidekey run -- claude', 'eval "$(sidekey env)"', 'sidekey status'].map(
    (command) => markup`<p><code>${asTyped(command)}</code></p>`,
  );
  const body = markup`<p>This address is an HTTP proxy, not a web site. Programs use it to send requests with your credentials.</p>
    <p>Start a program behind the proxy, set up a shell, or show the state:</p>
    ${commands}`;
  return renderPage({ kind: 'done', from: 'Sidekey', title: 'The Sidekey proxy is running', body }, status);
}
