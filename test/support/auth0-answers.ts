import { createHash } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { text } from 'node:stream/consumers';
import type { ServedAccount } from './auth0-server.ts';
import { upstreamCa, upstreamHost } from './upstream.ts';

/** The problem of a call, and the error of Auth0 for it. */
export class Fault extends Error {
  readonly status: number;
  readonly error: string;

  constructor(error: string, message: string, status = 400) {
    super(message);
    this.status = status;
    this.error = error;
  }
}

/** @throws Fault */
export function check(holds: boolean, what: string): void {
  if (!holds) throw new Fault('invalid_request', what);
}

/** True when two lists have the same elements in any order. */
export function sameSet(a: Iterable<string>, b: Iterable<string>): boolean {
  return JSON.stringify([...a].toSorted()) === JSON.stringify([...b].toSorted());
}

/** Sends a JSON response; a string is sent unchanged. */
export function send(response: ServerResponse, status: number, body: unknown, headers: object = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(status === 204 ? undefined : typeof body === 'string' ? body : JSON.stringify(body));
}

/** An account in the form of the My Account API. */
export function accountJson({ id, connection, scopes }: ServedAccount): object {
  return { id, connection, access_type: 'offline', scopes, created_at: '2026-11-21T08:00:00.000Z' };
}

/** `ErrorResponse` of the My Account API. */
export function errorResponse(status: number, detail: string): object {
  return { type: `https://auth0.com/api-errors#A0E-${status}`, title: 'Said no', status, detail };
}

/** RFC 7636 §4.2, S256. */
export function challengeOf(verifier: string): string {
  return createHash('sha256').update(verifier).digest('base64url');
}

/** Redirects a browser. */
export function redirect(
  response: ServerResponse,
  to: string,
  parameters: Readonly<Record<string, string>>,
): void {
  const url = new URL(to);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  response.writeHead(302, { location: url.href }).end();
}

/** The result of opening a URL of an upstream in a browser: the redirect target, or the page. */
export function browse(url: string): Promise<{ readonly location: string | null; readonly page: string }> {
  return new Promise((resolve, reject) => {
    const { port, pathname, search } = new URL(url);
    const asked = httpsRequest(
      {
        host: '127.0.0.1',
        port,
        path: pathname + search,
        servername: upstreamHost,
        ca: upstreamCa,
        headers: { host: `${upstreamHost}:${port}` },
        agent: false,
      },
      (response) => {
        text(response).then((page) => resolve({ location: response.headers.location ?? null, page }), reject);
      },
    );
    asked.once('error', reject).end();
  });
}
