import { signal } from '@preact/signals';
import type { JSX } from 'preact';
import type { Me, Problem, Remedy } from '../sdk/client/operations.ts';

/** Calls of the API, with the session of the person. */

/**
 * Key of the session's secret in the storage of this origin. Pages of other ports cannot access the storage.
 * They share the cookies of the host.
 */
const sessionItem = 'sidekey-session';

/** Stores the secret of a session. All tabs share it. */
export function startSession(secret: string): void {
  localStorage.setItem(sessionItem, secret);
}

/** Ends the session, and opens the sign-in. */
export async function signOut(): Promise<void> {
  await call('POST /sign-out');
  localStorage.removeItem(sessionItem);
  location.assign('/');
}

/** Replaces `sidekey` in commands with what runs it there: the service wrote it into the document. */
export function asTyped(text: string): string {
  const { content } = document.querySelector<HTMLMetaElement>('meta[name=command]')!;
  return text.replace(/(?<![\w./-]|npx )sidekey (?=[a-z-])/g, () => `${content} `);
}

/** Sends a request with the session. */
function request(path: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers);
  const secret = localStorage.getItem(sessionItem);
  if (secret !== null) headers.set('authorization', `Bearer ${secret}`);
  return fetch(path, { ...init, headers });
}

/** The signed-in person; null: nobody. */
export const person = signal<Me | null>(null);

/** Reports whether the signed-in person has a scope. */
export const may = (scope: Me['scopes'][number]) => person.value?.scopes.includes(scope) === true;

/** A failure of the API. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string | undefined;
  readonly remedies: readonly Remedy[];

  constructor(status: number, problem: Partial<Problem>) {
    super(problem.detail ?? `The service answered ${status}.`);
    this.status = status;
    this.code = problem.code ?? '';
    this.hint = problem.hint;
    this.remedies = problem.remedies ?? [];
  }
}

interface Answer<T> {
  readonly body: T;
  readonly etag: string | null;
}

interface Options {
  readonly headers?: Readonly<Record<string, string>>;
  /** Ends the request. */
  readonly signal?: AbortSignal | undefined;
}

/** Sends a request: `PATCH /v2/grants/ID`. @throws ApiError */
export async function send<T>(
  what: string,
  body?: unknown,
  { headers = {}, signal }: Options = {},
): Promise<Answer<T>> {
  const [method = 'GET', path = ''] = what.split(' ');
  const response = await request(path, {
    method,
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
    body: body === undefined ? null : JSON.stringify(body),
    signal: signal ?? null,
  }).catch(() => {
    throw new ApiError(0, { detail: 'The service does not answer.', hint: 'sidekey status' });
  });
  const text = await response.text();
  const value = (text === '' ? {} : JSON.parse(text)) as T;
  if (!response.ok) throw new ApiError(response.status, value as object);
  return { body: value, etag: response.headers.get('etag') };
}

/** Returns the body of a response. @throws ApiError */
export async function call<T>(what: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  return (await send<T>(what, body, { signal })).body;
}

/** Saves an answer as a file. @throws ApiError */
export async function download(path: string, name: string): Promise<void> {
  const response = await request(path, {});
  if (!response.ok) throw new ApiError(response.status, (await response.json()) as object);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

/** Milliseconds until an ended stream is opened again. */
const pauseMs = 3_000;

/**
 * Calls `take` with the data of each server-sent event until the signal is aborted. Resumes after the last
 * event if the connection ends. `EventSource` cannot send the session.
 */
export async function follow(path: string, signal: AbortSignal, take: (data: string) => void): Promise<void> {
  let last: Record<string, string> = {};
  while (!signal.aborted) {
    try {
      const { ok, body } = await request(path, { signal, headers: last });
      if (!ok || body === null) return;
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        const events = (text + part.value).split('\n\n');
        text = events.pop() ?? '';
        for (const event of events) {
          const [, id, data] = /^id: (.*)\ndata: (.*)$/.exec(event) ?? [];
          if (id === undefined || data === undefined) continue;
          last = { 'last-event-id': id };
          take(data);
        }
      }
    } catch {
      // The connection broke, or the signal was aborted.
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** The first entries of a list. */
export interface Listing<T> {
  readonly entries: readonly T[];
  /** Cursor of the entries that follow; null: none. */
  readonly next: string | null;
}

/** Returns the first entries of a list, or those of `before` and further ones. @throws ApiError */
export async function more<T>(path: string, before?: Listing<T>, signal?: AbortSignal): Promise<Listing<T>> {
  const limit = `${path.includes('?') ? '&' : '?'}limit=200`;
  const cursor = before?.next == null ? '' : `&cursor=${before.next}`;
  const page = await call<{ data: T[]; next_cursor: string | null }>(
    `GET ${path}${limit}${cursor}`,
    undefined,
    signal,
  );
  return { entries: [...(before?.entries ?? []), ...page.data], next: page.next_cursor };
}

/** Returns all entries of a list. Only for lists that are short. @throws ApiError */
export async function all<T>(path: string, signal?: AbortSignal): Promise<readonly T[]> {
  let listing = await more<T>(path, undefined, signal);
  while (listing.next !== null) listing = await more(path, listing, signal);
  return listing.entries;
}

/** Returns a path with encoded parts: path`/v2/grants/${id}`. */
export function path(texts: TemplateStringsArray, ...parts: readonly string[]): string {
  return texts.reduce((before, text, index) => before + encodeURIComponent(parts[index - 1] ?? '') + text);
}

export interface PageProps {
  /** Decoded parts of the address after the name of the page: `#accounts/ID`. */
  readonly args: readonly string[];
}

/** A page of the dashboard. The document shows its title above it. */
export type Page = (props: PageProps) => JSX.Element;
