import type { TokenFetch } from '../../../src/oauth/token-endpoint.ts';

export interface Asked {
  readonly url: string;
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly form: Record<string, string>;
  readonly redirect: string;
}

/** A token endpoint that answers what it is told to, and remembers what it was asked. */
export function fakeEndpoint(answer: Response | (() => Response | Promise<Response>)): {
  fetch: TokenFetch;
  asked: Asked[];
} {
  const asked: Asked[] = [];
  return {
    asked,
    fetch: async (url, { method, headers, body, redirect }) => {
      asked.push({ url, method, headers, form: Object.fromEntries(body), redirect });
      return typeof answer === 'function' ? answer() : answer;
    },
  };
}
