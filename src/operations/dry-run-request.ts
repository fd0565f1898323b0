import { isIP } from 'node:net';
import { z } from 'zod';
import { readUserName } from '../agents/authentication.ts';
import { identityRules } from '../agents/identity-rules.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { type Hint, remedy } from '../lib/hint.ts';
import type { RawFields } from '../proxy/http/fields.ts';
import type { InboundRequest, Presented, Selectors } from '../proxy/http/message.ts';
import type { LeaseRecord } from '../store/store.ts';
import { isLive } from './agent-token.ts';
import { readTime } from './format.ts';
import { text } from './members.ts';
import type { Reading } from './operation.ts';
import { once, parseHeader } from './outgoing-request.ts';

/** A hypothetical request, with its caller, client and time. */
export const questionInput = z.strictObject({
  method: z.string().optional(),
  url: z.string(),
  agent: text.optional(),
  lease: text.optional(),
  user: text.optional(),
  grant: text.optional(),
  headers: z.array(z.string()).optional().describe('`Name: value`.'),
  body: z.string().optional(),
  bytes: z.instanceof(Uint8Array).optional().describe('A body that is no text.'),
  client: text.optional(),
  at: text.optional(),
});

type Written = z.output<typeof questionInput>;

/** The parsed input. */
export interface Question {
  readonly method: string;
  readonly url: string;
  /** Null: no agent, or the agent of the lease. */
  readonly agent: string | null;
  /** Id of the lease, or a prefix of it; null: the agent uses its own token. */
  readonly lease: string | null;
  readonly selectors: Selectors;
  /** The request as received. Its body can be read once. */
  readonly inbound: InboundRequest;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** Parses a hypothetical request. @throws SidekeyError `input_invalid` */
export function questionOf(written: Written, now: number): Question {
  const { user, grant, lease, client = '127.0.0.1' } = written;
  const who = readUserName(written.agent ?? '');
  if (who === null)
    throw inputInvalid('A selector in --agent is not valid.', '--agent NAME+grant=GRANT+user=USER');
  const address = isIP(client);
  if (address === 0) throw inputInvalid('--client is not an IP address.', '--client 10.1.2.3');
  const at = written.at === undefined ? now : readTime(written.at, now);
  if (at === null)
    throw inputInvalid('--at is not a time.', '--at 2026-11-21T09:00:00+01:00, or --at 2h for two hours ago');
  const body = Buffer.from(written.bytes ?? written.body ?? '');
  const { method, url } = readTarget(written, body);
  const host = /^https?:\/\/([^/?#]*)/i.exec(url)?.[1] ?? '';
  const given = (written.headers ?? []).flatMap(readHeader);
  const has = (name: string) => given.some((field, index) => index % 2 === 0 && field.toLowerCase() === name);
  const fields = [
    ...(has('host') ? [] : ['Host', host]),
    ...given,
    ...(body.length === 0 || has('content-type') ? [] : ['Content-Type', 'application/json']),
    ...(body.length === 0 || has('content-length') ? [] : ['Content-Length', String(body.length)]),
  ];
  return {
    method,
    url,
    agent: who.name === '' ? null : who.name,
    lease: lease ?? null,
    selectors: { grant: grant ?? who.selectors.grant, user: user ?? who.selectors.user },
    inbound: {
      head: { method, target: url, version: '1.1', fields },
      body: body.length === 0 ? null : once(body),
      client: {
        address: address === 6 ? `[${client}]:0` : `${client}:0`,
        loopback: client === '::1' || client.startsWith('127.'),
        owner: () => 'own',
        tunnel: null,
      },
    },
    at,
  };
}

/** Returns method and address of the request. The default scheme is https, as in the map. */
function readTarget({ method, url: written }: Written, body: Buffer): Pick<Question, 'method' | 'url'> {
  const example = remedy('domain.explain', { method: 'GET', url: 'https://api.example.com/path' });
  const isMethod = /^[A-Za-z]{1,32}$/;
  // A word in capitals is a method without a URL, because hosts are in lower case.
  if (method === undefined && isMethod.test(written) && written === written.toUpperCase()) {
    throw inputInvalid('The URL is missing.', example);
  }
  if (method !== undefined && !isMethod.test(method))
    throw inputInvalid('The word before the URL is not a method.', example);
  // A base address of the proxy has the host in its path.
  const [, named] = /^http:\/\/[^/]*\/\+\/(.*)$/.exec(written) ?? [];
  const url = named ?? written;
  return {
    method: method?.toUpperCase() ?? (body.length === 0 ? 'GET' : 'POST'),
    url: url.includes('://') ? url : `https://${url}`,
  };
}

function readHeader(text: string): RawFields {
  const [name, value] = parseHeader(text, 'Sidekey-Reason: ticket 7');
  if (name.toLowerCase() === 'proxy-authorization') {
    throw inputInvalid(
      'Name the caller with --agent or --lease, not in a header.',
      '--agent NAME, or --lease ID',
    );
  }
  return [name, value];
}

const noHash = Buffer.alloc(0);

/** Returns the credentials that the caller would present: an active token if the agent has several. */
export async function presentedOf(
  { agent, selectors, at }: Question,
  lease: LeaseRecord | null,
  { store, config }: Pick<Reading, 'config' | 'store'>,
): Promise<Presented | SidekeyError> {
  if (lease !== null)
    return { kind: 'token', name: agent, tokenHash: Buffer.from(lease.tokenHash), selectors };
  if (agent === null) return { kind: 'selectors', selectors };
  if (((await store?.agents.get(agent)) ?? null) === null) {
    return unauthenticated(`The proxy does not know the agent ${agent}.`, remedy('agent.list'));
  }
  const tokens = (await store?.agentTokens.list(agent)) ?? [];
  const live = tokens.findLast((token) => isLive(token, at));
  if (live === undefined && identityRules(config, agent).length > 0) {
    return { kind: 'token', name: agent, tokenHash: noHash, jwt: '', selectors };
  }
  const shown = live ?? tokens.at(-1);
  if (shown === undefined) {
    return unauthenticated(`The agent ${agent} has no token.`, remedy('agent.rotate', { agent }));
  }
  return { kind: 'token', name: agent, tokenHash: Buffer.from(shown.hash), selectors };
}

function unauthenticated(sentence: string, hint: Hint): SidekeyError {
  return new SidekeyError('agent_auth_required', sentence, { hint });
}
