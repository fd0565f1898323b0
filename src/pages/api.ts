/** Calls of the API. The browser sends the cookie of the session by itself. */

/** A failure of the API. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string | undefined;

  constructor(
    status: number,
    problem: { readonly code?: string; readonly detail?: string; readonly hint?: string },
  ) {
    super(problem.detail ?? `The service answered ${status}.`);
    this.status = status;
    this.code = problem.code ?? '';
    this.hint = problem.hint;
  }
}

interface Answer<T> {
  readonly body: T;
  readonly etag: string | null;
}

/** Sends a request: `PATCH /v2/grants/ID`. @throws ApiError */
export async function send<T>(
  request: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer<T>> {
  const [method = 'GET', path = ''] = request.split(' ');
  const response = await fetch(path, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  }).catch(() => {
    throw new ApiError(0, { detail: 'The service does not answer.', hint: 'sidekey status' });
  });
  const text = await response.text();
  const value = (text === '' ? {} : JSON.parse(text)) as T;
  if (!response.ok) throw new ApiError(response.status, value as object);
  return { body: value, etag: response.headers.get('etag') };
}

/** Returns the body of an answer. @throws ApiError */
export async function call<T>(request: string, body?: unknown): Promise<T> {
  return (await send<T>(request, body)).body;
}

/** Returns all entries of a list. @throws ApiError */
export async function all<T>(path: string): Promise<T[]> {
  const entries: T[] = [];
  let cursor: string | null = null;
  do {
    const query: string = `${path.includes('?') ? '&' : '?'}limit=200${cursor === null ? '' : `&cursor=${cursor}`}`;
    const page: { data: T[]; next_cursor: string | null } = await call(`GET ${path}${query}`);
    entries.push(...page.data);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return entries;
}

/** Returns a path with encoded parts: path`/v2/grants/${id}`. */
export function path(texts: TemplateStringsArray, ...parts: readonly string[]): string {
  return texts.reduce((before, text, index) => before + encodeURIComponent(parts[index - 1] ?? '') + text);
}

/** The signed-in person. */
export interface Me {
  readonly name: string;
  readonly role: string;
  readonly user: string | null;
  readonly scopes: readonly string[];
}

/** A page of the app. Its work ends when the signal is aborted. */
export type View = (main: HTMLElement, me: Me, signal: AbortSignal) => Promise<void>;
