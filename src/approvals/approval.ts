import { randomBytes } from 'node:crypto';
import type { AuditEvent } from '../audit/event.ts';
import { parseAuthority } from '../policy/authority.ts';

/** Requests that wait for a person, and what people said. All times are milliseconds since the epoch. */

/** Characters (UTF-16 units) of a path, and of a query, that people are shown in full; for a longer one nobody is asked. */
export const longestPath = 2_048;

/** A request that waits for the answer of a person. */
export interface Question {
  /** Eight characters that a person can type; see `newApprovalId`. */
  readonly id: string;
  /** The exchange that waits, as the audit calls it. */
  readonly exchange: string;
  readonly askedAt: number;
  /** Time at which the request is refused, where nobody has answered by then. */
  readonly expiresAt: number;
  /** Until when it can be answered unless whoever asks says again that it waits: it may have died without a word. */
  readonly aliveUntil: number;
  /** The caller of the request. */
  readonly who: Asking;
  /** Method of the request, its canonical authority with the port, and its path without query and credential. */
  readonly method: string;
  readonly scheme: 'http' | 'https';
  readonly authority: string;
  readonly path: string;
  /** The query, without the value of a credential that it carries; null: there is none. */
  readonly query: string | null;
  /** The announced bytes of the body, which is not shown; null: of any length. */
  readonly bodyBytes: number | null;
  /** The grant whose credential would go along. */
  readonly grantName: string;
  readonly grantUser: string;
  readonly provider: string;
  /** Address and port of the caller. */
  readonly client: string;
  /** The caller's `Sidekey-Reason`, and the purpose of its lease; what an agent says of itself, so any text. */
  readonly reason: string | null;
  readonly purpose: string | null;
  /** Position of the rule in the config, and its name. */
  readonly rule: string;
  readonly ruleName: string | null;
}

/** Facts that a later request must share for a standing approval to apply. */
export interface Asking {
  /** Null: a local caller without a token. */
  readonly agent: string | null;
  /** Null: it comes under no lease. */
  readonly lease: string | null;
  readonly grantId: string;
  /** Key of the rule. It changes when the rule or a rule before it changes. */
  readonly ruleKey: string;
}

/** Reach of an approval: one request; all requests that match the rule during the lease; or until a time. */
export type Reach =
  { readonly kind: 'once' } | { readonly kind: 'lease' } | { readonly kind: 'until'; readonly at: number };

/** Answer of a person. */
export type Answer = {
  readonly at: number;
  /** Who, as far as it is known: `alice in a terminal`, `the link, from 127.0.0.1:4711`. */
  readonly by: string;
} & ({ readonly outcome: 'allowed'; readonly reach: Reach } | { readonly outcome: 'denied' });

/** Reports whether somebody still waits for the answer to a question. */
export function isWaiting({ answer, expiresAt, aliveUntil }: Approval, at: number): boolean {
  return answer === null && Math.min(expiresAt, aliveUntil) > at;
}

/** A question with its answer, where there is one. */
export interface Approval extends Question {
  readonly answer: Answer | null;
}

/** A yes that reaches beyond the request that it was given for. */
export interface StandingApproval {
  /** That of the question which it answered. */
  readonly id: string;
  readonly who: Asking;
  readonly grantName: string;
  readonly rule: string;
  readonly ruleName: string | null;
  readonly at: number;
  readonly by: string;
  /** Null: as long as the lease. */
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

/** `once`, `for the lease`, `until 2026-11-22T09:15:00.000Z`. */
function reachWords({ reach }: Extract<Answer, { outcome: 'allowed' }>): string {
  if (reach.kind === 'until') return `until ${new Date(reach.at).toISOString()}`;
  return reach.kind === 'lease' ? 'for the lease' : 'once';
}

/**
 * Names of questions: short enough to be typed, and without letters that look alike (the alphabet of Crockford's base
 * 32: no i, l, o, u). They are names and no secrets: every user of the store may answer.
 */

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

/**
 * Eight characters, 40 bits: of the questions of a day no two have the same.
 * @param random so many random bytes
 */
export function newApprovalId(random: (size: number) => Uint8Array = randomBytes): string {
  let bits = 0n;
  for (const byte of random(5)) bits = (bits << 8n) | BigInt(byte);
  let id = '';
  for (let shift = 35n; shift >= 0n; shift -= 5n) id += alphabet[Number((bits >> shift) & 31n)];
  return id;
}

/** An id as a person types it: in capitals, or with the letters that look like 0 and 1. Null: it is none. */
export function readApprovalId(text: string): string | null {
  const folded = text.toLowerCase().replaceAll('o', '0').replace(/[il]/g, '1');
  return /^[0-9a-hjkmnp-tv-z]{8}$/.test(folded) ? folded : null;
}

/** That a request has a query or a body, which nobody is shown: the end of a sentence with `has`. Null: it has neither. */
export function unshownText({ query, bodyBytes }: Pick<Question, 'query' | 'bodyBytes'>): string | null {
  const body = bodyBytes === null ? ['a body'] : bodyBytes === 0 ? [] : [`${bytesText(bodyBytes)} of body`];
  const parts = [...(query === null ? [] : ['a query']), ...body];
  if (parts.length === 0) return null;
  return `${parts.join(' and ')}, which ${parts.length === 1 ? 'is' : 'are'} not shown`;
}

/** `5,000 bytes` */
function bytesText(bytes: number): string {
  return bytes === 1 ? '1 byte' : `${bytes.toLocaleString('en-US')} bytes`;
}
