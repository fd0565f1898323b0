import type { TokenFetch } from '../../../../src/grants/oauth/http.ts';

export interface Asked {
  readonly url: string;
  readonly method: string;
  readonly headers: Record<string, string>;
  /** The body, read as a form. */
  readonly form: Record<string, string>;
  readonly redirect: string;
}

/** An endpoint with given responses that records the requests. */
export function fakeEndpoint(answer: Response | (() => Response | Promise<Response>)): {
  fetch: TokenFetch;
  asked: Asked[];
  /** The request bodies; null: none. */
  bodies: (string | null)[];
} {
  const asked: Asked[] = [];
  const bodies: (string | null)[] = [];
  return {
    asked,
    bodies,
    fetch: async (url, { method, headers, body, redirect }) => {
      const text = typeof body === 'string' || body instanceof URLSearchParams ? body.toString() : null;
      bodies.push(text);
      asked.push({
        url,
        method,
        headers,
        form: Object.fromEntries(new URLSearchParams(text ?? '')),
        redirect,
      });
      return typeof answer === 'function' ? answer() : answer;
    },
  };
}
