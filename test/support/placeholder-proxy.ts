import type { IncomingMessage, ServerResponse } from 'node:http';
import { hashToken } from '../../src/agents/authentication.ts';
import {
  agentHolder,
  anyone,
  type Holder,
  leaseHolder,
  placeholderCodes,
  plainForm,
  readForm,
} from '../../src/proxy/placeholders/codes.ts';
import { requestBody } from './request-body.ts';
import { addAgent, leaseRecord } from './rights.ts';
import { bearerToken, startSidekey, type TestSidekey } from './sidekey.ts';
import { startUpstream, type Upstream } from './upstream.ts';

type HttpUpstream = Awaited<ReturnType<typeof startUpstream>>;

/** A request as an upstream received it. */
export interface Asked {
  readonly target: string;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly rawHeaders: readonly string[];
  readonly body: string;
}

/** Two APIs with a grant each, and a host that is not in the domain map. */
export interface PlaceholderProxy {
  readonly sidekey: TestSidekey;
  readonly api: HttpUpstream;
  readonly other: Upstream;
  readonly stranger: Upstream;
  readonly asked: Asked[];
  /** The placeholder of the grant of `api`, in the form of its provider's credentials. */
  readonly placeholder: string;
  readonly make: (grant: 'api' | 'other', holder?: Holder) => string;
  /** Creates a lease of the agent `robot`, with the token `robot:secret`. */
  readonly lease: (secret: string) => Promise<Holder>;
}

/** A placeholder in the form of the provider's credentials. */
export const template = 'acme_sidekeyPlaceholder0000000000000000';

export async function startPlaceholderProxy(
  provider: { readonly inject?: unknown; readonly placeholders?: readonly string[] } = {},
  more: { readonly limits?: object; readonly value?: string; readonly stray?: 'pass' } = {},
): Promise<PlaceholderProxy> {
  const asked: Asked[] = [];
  const listener = async (request: IncomingMessage, response: ServerResponse) => {
    const body = await requestBody(request);
    const { url = '', headers, rawHeaders } = request;
    asked.push({ target: url, headers, rawHeaders, body });
    response.end('ok');
  };
  const start = () => startUpstream((...it) => void listener(...it).catch(() => {}));
  const [api, other, stranger] = await Promise.all([start(), start(), start()]);
  const audience = [api.authority];
  const stray = more.stray === undefined ? {} : { unexpected_placeholders: more.stray };
  const sidekey = await startSidekey({
    domains: {
      [api.authority]: { grant: 'acme' },
      [other.authority]: { grant: 'other' },
    },
    config: {
      providers: {
        acme: { audience, environment: { ACME_TOKEN: template }, ...provider, ...stray },
        other: { audience: [other.authority] },
      },
      ...(more.limits === undefined ? {} : { limits: more.limits }),
    },
  });
  const key = { type: 'api_key', value: more.value ?? bearerToken } as const;
  const grants = {
    api: await sidekey.grant(audience, { credential: key }),
    other: await sidekey.grant([other.authority], { name: 'other', provider: 'other' }),
  };
  const { vault, store } = sidekey.proxy.state;
  const codes = placeholderCodes(vault);
  const make: PlaceholderProxy['make'] = (grant, holder = anyone) =>
    codes.make((grant === 'api' ? readForm(template) : null) ?? plainForm, holder, grants[grant].id);
  await addAgent(store, 'robot', 'own');
  return {
    sidekey,
    api,
    other,
    stranger,
    asked,
    placeholder: make('api'),
    make,
    async lease(secret) {
      const record = leaseRecord({
        agent: 'robot',
        tokenHash: hashToken(secret),
        grants: null,
        createdAt: Date.now(),
        expiresAt: Date.now() + 900_000,
      });
      await store.leases.insert(record);
      return leaseHolder(record.id);
    },
  };
}

export const robot = agentHolder('robot');
