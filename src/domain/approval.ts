import { isUtf8 } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import type { AuditEvent } from './event.ts';
import { parseAuthority } from '../proxy/policy/authority.ts';

/** Requests that wait for a person, and their answers. All times are milliseconds since the epoch. */

/**
 * Maximum UTF-16 units of a path, and of a query. Longer ones cannot be shown in full, so they are refused.
 */
export const longestPath = 2_048;

/** Maximum bytes of a body that is shown. A person who sees only its beginning cannot approve its end. */
export const longestBody = 4_096;

/** Returns a body as text for a person, or null if it is empty, too long, or not printable UTF-8. */
export function bodyText(body: Buffer): string | null {
  if (body.length === 0 || body.length > longestBody || !isUtf8(body)) return null;
  const text = body.toString('utf8');
  return /[^\P{Cc}\t\r\n]/u.test(text) ? null : text;
}

/** A request that waits for a person to approve it. */
export interface Question {
  /** ID of eight characters that a person can type; see `newApprovalId`. */
  readonly id: string;
  /** ID of the exchange in the audit log. */
  readonly exchange: string;
  readonly askedAt: number;
  /** Time at which an unanswered request is refused. */
  readonly expiresAt: number;
  /** Time until which an answer is possible. The waiting process extends it; after a crash, it expires. */
  readonly aliveUntil: number;
  readonly who: Asking;
  /** `authority` is canonical, with the port. `path` has neither the query nor a credential. */
  readonly method: string;
  readonly scheme: 'http' | 'https';
  readonly authority: string;
  readonly path: string;
  /** Query without the value of a credential in it; null: the request has no query. */
  readonly query: string | null;
  /** Uncommon header fields and trailers, each as `NAME: VALUE` without line breaks. */
  readonly fields: readonly string[];
  /** The provider's description of the request, such as `send mail`; null if it has none. */
  readonly operation: string | null;
  /** Announced length of the body in bytes; null: unknown. The body itself is never stored. */
  readonly bodyBytes: number | null;
  /** The grant whose credential would be added. */
  readonly grantName: string;
  readonly grantUser: string;
  readonly provider: string;
  /** Address and port of the caller. */
  readonly client: string;
  /** The caller's `Sidekey-Reason` and the purpose of its lease: unverified texts of the agent. */
  readonly reason: string | null;
  readonly purpose: string | null;
  /** Position of the rule in the config, and its name. */
  readonly rule: string;
  readonly ruleName: string | null;
}

/** Facts that a later request must share with the question for a standing approval to apply. */
export interface Asking {
  /** Name of the agent; null: a local caller without a token. */
  readonly agent: string | null;
  /** ID of the lease; null: no lease. */
  readonly lease: string | null;
  readonly grantId: string;
  /** Key of the rule. It changes when the rule or a rule before it changes. */
  readonly ruleKey: string;
}

/** Scope of an approval: one request, all requests that match the rule during the lease, or until a time. */
export type Reach =
  { readonly kind: 'once' } | { readonly kind: 'lease' } | { readonly kind: 'until'; readonly at: number };

export type Answer = {
  readonly at: number;
  /** Author, as far as known: `alice in a terminal`, `the link, from 127.0.0.1:4711`. */
  readonly by: string;
} & ({ readonly outcome: 'allowed'; readonly reach: Reach } | { readonly outcome: 'denied' });

/**
 * Answer to a question: deny; allow this request; allow all requests that the rule matches, during the lease
 * or for `forMs` milliseconds.
 */
export type ApprovalResponse = 'deny' | 'once' | 'lease' | { readonly forMs: number };

/** Returns the answer of `by`, given at `at`. */
export function answerOf(said: ApprovalResponse, by: string, at: number): Answer {
  if (said === 'deny') return { at, by, outcome: 'denied' };
  const reach = typeof said === 'string' ? { kind: said } : ({ kind: 'until', at: at + said.forMs } as const);
  return { at, by, outcome: 'allowed', reach };
}

/** An answer that a person can choose. All pages, terminals and messages use these words. */
export interface Choice {
  readonly answer: 'once' | 'deny' | 'for' | 'lease';
  /** Duration of the answer `for`; otherwise null. */
  readonly span: '15m' | '1h' | null;
  readonly label: string;
  readonly effect: string;
}

const choices = (
  [
    ['once', null, 'Yes, once', 'This request goes on, and no other.'],
    ['deny', null, 'No', 'It is refused; the next one asks again.'],
    ['for', '15m', 'Yes, for 15 minutes', 'It goes on, and all like it for 15 minutes.'],
    ['for', '1h', 'Yes, for 1 hour', 'It goes on, and all like it for 1 hour.'],
    ['lease', null, 'Yes, for the lease', 'It goes on, and all like it until the lease ends.'],
  ] as const
).map(([answer, span, label, effect]): Choice => ({ answer, span, label, effect }));

/** Returns the answers that a question allows. Without a lease, an approval for it would never end. */
export function choicesOf({ who }: Pick<Question, 'who'>): readonly Choice[] {
  return choices.filter(({ answer }) => answer !== 'lease' || who.lease !== null);
}

/** Returns the response of a choice. */
export function responseOf({ answer, span }: Choice): ApprovalResponse {
  return answer === 'for' ? { forMs: span === '1h' ? 3_600_000 : 900_000 } : answer;
}

/** Returns the sentence about the further requests that an answer for a time or a lease allows. */
export function likeText({ who }: Pick<Question, 'who'>): string {
  const names = who.agent === null ? '' : who.lease === null ? 'agent, ' : 'agent, lease, ';
  const rest = who.agent === null ? ', and come without a token' : '';
  return `Requests like it have the same rule, ${names}account and header fields${rest}.`;
}

/** Reports whether a process still waits for the answer to a question. */
export function isWaiting({ answer, expiresAt, aliveUntil }: Approval, at: number): boolean {
  return answer === null && Math.min(expiresAt, aliveUntil) > at;
}

/** A question with its answer; null: unanswered. */
export interface Approval extends Question {
  readonly answer: Answer | null;
}

/** An approval that is valid for more than one request. */
export interface StandingApproval extends Pick<Question, 'id' | 'who' | 'grantName' | 'rule' | 'ruleName'> {
  readonly at: number;
  readonly by: string;
  /** Time at which the approval ends; null: with the lease. */
  readonly until: number | null;
}

/** Returns the audit event of an answer, recorded before it takes effect. */
export function answerEvent(asked: Approval, answer: Answer): AuditEvent {
  const { who, scheme, authority, method, path } = asked;
  const target = parseAuthority(authority, scheme);
  return {
    ...(answer.outcome === 'denied'
      ? { event: 'approval.denied', outcome: 'deny' }
      : { event: 'approval.allowed', outcome: 'allow' }),
    exchange: asked.exchange,
    approval: asked.id,
    agent: who.agent ?? undefined,
    lease: who.lease ?? undefined,
    user: asked.grantUser,
    grant: who.grantId,
    provider: asked.provider,
    method,
    scheme,
    host: target?.host ?? authority,
    port: target?.port,
    path,
    reason: answer.outcome === 'denied' ? answer.by : `${answer.by}, ${reachWords(answer)}`,
  };
}

/** Formats a reach: `once`, `for the lease`, `until 2026-11-22T09:15:00.000Z`. */
function reachWords({ reach }: Extract<Answer, { outcome: 'allowed' }>): string {
  if (reach.kind === 'until') return `until ${new Date(reach.at).toISOString()}`;
  return reach.kind === 'lease' ? 'for the lease' : 'once';
}

/**
 * IDs of questions are short enough to type and avoid similar letters (Crockford's base 32: no i, l, o, u).
 * They are not secrets: every user of the store may answer.
 */

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

/**
 * Returns a random ID of eight characters (40 bits). Collisions among a day's questions are improbable.
 * @param random returns `size` random bytes
 */
export function newApprovalId(random: (size: number) => Uint8Array = randomBytes): string {
  let bits = 0n;
  for (const byte of random(5)) bits = (bits << 8n) | BigInt(byte);
  let id = '';
  for (let shift = 35n; shift >= 0n; shift -= 5n) id += alphabet[Number((bits >> shift) & 31n)];
  return id;
}

/** Normalises a typed ID: accepts capitals, and letters that look like 0 and 1. Null if invalid. */
export function readApprovalId(text: string): string | null {
  const folded = text.toLowerCase().replaceAll('o', '0').replace(/[il]/g, '1');
  return /^[0-9a-hjkmnp-tv-z]{8}$/.test(folded) ? folded : null;
}

/** Returns the end of a sentence about the query and body that are not shown; null: neither is present. */
export function unshownText({ query, bodyBytes }: Pick<Question, 'query' | 'bodyBytes'>): string | null {
  const body = bodyBytes === null ? ['a body'] : bodyBytes === 0 ? [] : [`${bytesText(bodyBytes)} of body`];
  const parts = [...(query === null ? [] : ['a query']), ...body];
  if (parts.length === 0) return null;
  return `${parts.join(' and ')}, which ${parts.length === 1 ? 'is' : 'are'} not shown`;
}

/** Returns the name of a field of a question. A trailer keeps its mark. */
export function fieldName(field: string): string {
  return field.slice(0, field.indexOf(':'));
}

/** Formats a number of bytes: `5,000 bytes`. */
export function bytesText(bytes: number): string {
  return bytes === 1 ? '1 byte' : `${bytes.toLocaleString('en-US')} bytes`;
}
