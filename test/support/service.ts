/** A proxy with its API. Each answer is compared with the schema of its route. */
import { expect } from 'vitest';
import type { AnyRoute } from '../../src/api/route.ts';
import { pageShape } from '../../src/api/paging.ts';
import { routes } from '../../src/api/routes.ts';
import { probeProgramsOf } from '../../src/cli/doctor/probe.ts';
import { hashToken } from '../../src/agents/authentication.ts';
import type { ApiKeyRecord } from '../../src/store/store.ts';
import { type SidekeyOptions, startSidekey, type TestSidekey } from './sidekey.ts';

export interface TestService {
  readonly sidekey: TestSidekey;
  /** Base address. */
  readonly url: string;
  /** Creates a key, and returns it. */
  readonly key: (record?: Partial<ApiKeyRecord>) => Promise<string>;
  /** Sends a request with the key of an operator, or another one. */
  readonly call: (request: string, options?: CallOptions) => Promise<Answer>;
}

interface CallOptions {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Null: no key. */
  readonly key?: string | null;
  /** Another base address of the service. */
  readonly base?: string;
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // Tests look at members of any route.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly body: any;
}

/** Ids of routes that answered with success in this process. */
export const answered = new Set<string>();

/** Returns the route of a request, and the path of its OpenAPI document. */
export function routeOf(method: string, path: string): AnyRoute | undefined {
  const fits = (row: AnyRoute) => new RegExp(`^${row.path.replace(/\{\w+\}/g, '[^/]+')}$`).test(path);
  const found = routes.filter((row) => row.method === method.toLowerCase() && fits(row));
  return found.toSorted((a, b) => a.path.split('{').length - b.path.split('{').length)[0];
}

/** Starts the proxy; closed when the test ends. */
export async function startService(options: SidekeyOptions = {}): Promise<TestService> {
  const sidekey = await startSidekey({
    ...options,
    config: { admin: { listen: '127.0.0.1:0' }, ...options.config },
    probePrograms: probeProgramsOf({ env: process.env, now: Date.now }),
  });
  const url = sidekey.proxy.pages ?? '';
  let count = 0;
  const key = async (record: Partial<ApiKeyRecord> = {}) => {
    count += 1;
    const secret = `sk_${count}-${crypto.randomUUID()}`;
    await sidekey.proxy.state.store.apiKeys.insert({
      name: `key-${secret.slice(-12)}`,
      role: 'operator',
      scopes: null,
      user: null,
      person: null,
      createdAt: Date.now(),
      expiresAt: null,
      usedAt: null,
      ...record,
      hash: hashToken(secret),
    });
    return secret;
  };
  const operator = await key({ name: `tester-${crypto.randomUUID()}` });
  return {
    sidekey,
    url,
    key,
    async call(request, { body, headers = {}, key: other = operator, base = url } = {}) {
      const [method = '', path = ''] = request.split(' ');
      const response = await fetch(base + path, {
        method,
        redirect: 'manual',
        headers: {
          ...(other === null ? {} : { 'x-api-key': other }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      const text = await response.text();
      const json: unknown =
        text !== '' && /json/.test(response.headers.get('content-type') ?? '') ? JSON.parse(text) : text;
      const route = routeOf(method, new URL(path, base).pathname);
      if (route !== undefined && response.ok) {
        answered.add(route.id);
        expect(response.status, request).toBe(route.status ?? 200);
        const shape = route.list === undefined ? route.result : pageShape(route.result!);
        if (shape !== undefined && route.media === undefined) {
          const { error } = shape.safeParse(json);
          expect(error?.issues ?? [], `${request}: ${text.slice(0, 2_000)}`).toEqual([]);
        }
      }
      return { status: response.status, headers: response.headers, body: json };
    },
  };
}
