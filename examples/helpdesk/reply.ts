import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';

/** Why the API says no; becomes its JSON error body. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly status: number;
  readonly code: string;
  readonly headers: OutgoingHttpHeaders;

  constructor(status: number, code: string, message: string, headers: OutgoingHttpHeaders = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

/** Sends a value as JSON. */
export function replyJson(
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: OutgoingHttpHeaders = {},
): void {
  const text = `${JSON.stringify(value)}\n`;
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    ...headers,
  });
  response.end(text);
}

/** Sends a refusal as `{"error": code, "message": sentence}`. */
export function replyRefusal(response: ServerResponse, refusal: Refusal): void {
  const { status, code, message, headers } = refusal;
  replyJson(response, status, { error: code, message }, headers);
}

/** Sends a page. */
export function replyHtml(
  response: ServerResponse,
  status: number,
  page: string,
  headers: OutgoingHttpHeaders,
): void {
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(page) });
  response.end(page);
}

/** 405, with the methods that would do. */
export function methodNotAllowed(method: string, allowed: readonly string[]): Refusal {
  const allow = allowed.join(', ');
  return new Refusal(405, 'method_not_allowed', `${method} is not allowed here; ${allow} would be.`, {
    allow,
  });
}

/** 413. */
export function bodyTooLarge(limit: number): Refusal {
  return new Refusal(413, 'body_too_large', `The body is larger than ${limit} bytes.`);
}
