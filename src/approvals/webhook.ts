import { timingSafeEqual } from 'node:crypto';
import { SinkFailure } from '../audit/export/sink.ts';
import { post, signature } from '../audit/export/http.ts';
import type { ApprovalWebhook } from '../config/approvals.ts';
import { errorPhrase } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { pause, type Timers } from '../lib/timers.ts';
import type { Vault } from '../vault/vault.ts';
import { type Question, unshownText } from './approval.ts';

/** Tells a receiver of each question, such as a chat program. It holds up nobody: every failed call is repeated. */

/** Options of `createApprovalTeller`. */
interface ApprovalTellerOptions {
  /** Webhook of the config in force; null: none. */
  readonly webhook: () => ApprovalWebhook | null;
  readonly readSecret: (reference: NonNullable<ApprovalWebhook['secret']>) => Promise<string>;
  /** The guarded way out at that moment. */
  readonly fetch: () => typeof globalThis.fetch;
  /** The whole link that answers a question; null: nothing listens for it. */
  readonly link: (question: Question) => string | null;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
  readonly log: Pick<Log, 'info' | 'warn'>;
  /** Between 0 and 1, for the spread of back-off. */
  readonly random: () => number;
}

/** Tells of questions. */
interface ApprovalTeller {
  /** Begins to tell of a question, until it expires. Call the returned function when the question has ended. */
  readonly announce: (question: Question) => () => void;
  /** Cancels calls that are not sent yet. */
  close(): Promise<void>;
}

/** Milliseconds for one POST. */
const postTimeout = 10_000;
const shortestBackOff = 1_000;
const longestBackOff = 30_000;

/** Creates a teller. With a secret, it signs its messages like the webhooks of the audit (`Sidekey-Signature`). */
export function createApprovalTeller(options: ApprovalTellerOptions): ApprovalTeller {
  const { webhook, readSecret, fetch, link, now, timers, log, random } = options;
  const closing = new AbortController();
  const underWay = new Set<Promise<void>>();

  async function send(to: ApprovalWebhook, question: Question, body: string, over: AbortSignal) {
    const late = new AbortController();
    const cancel = timers.after(postTimeout, () => late.abort());
    try {
      const headers = {
        'content-type': 'application/json',
        'idempotency-key': `"${question.exchange}"`,
        ...(to.secret === null ? {} : signature(body, await readSecret(to.secret), now())),
      };
      const signal = AbortSignal.any([over, late.signal]);
      await post({ url: to.url, headers, body }, { fetch: fetch(), signal, now: now() });
    } finally {
      cancel();
    }
  }

  async function tell(to: ApprovalWebhook, question: Question, over: AbortSignal): Promise<void> {
    const approval = question.id;
    const body = JSON.stringify(questionMessage(question, link(question)));
    for (let attempt = 0; !over.aborted; attempt += 1) {
      try {
        await send(to, question, body, over);
        if (attempt > 0) log.info({ approval }, 'the webhook for approvals has the question now');
        return;
      } catch (error) {
        if (over.aborted) return;
        if (attempt === 0) {
          const reason = error instanceof SinkFailure ? error.message : errorPhrase(error);
          log.warn(
            { approval, reason },
            'the webhook for approvals did not take a question; it is tried again',
          );
        }
        const wait = Math.min(longestBackOff, shortestBackOff * 2 ** Math.min(attempt, 10));
        const asked = error instanceof SinkFailure ? (error.retryAfterMs ?? 0) : 0;
        await pause(timers, Math.max(asked, wait * (0.5 + random() / 2)), over);
      }
    }
  }

  return {
    announce(question) {
      const to = webhook();
      if (to === null || closing.signal.aborted) return () => {};
      const over = new AbortController();
      const end = () => {
        cancel();
        over.abort();
      };
      const cancel = timers.after(question.expiresAt - now(), () => {
        log.warn({ approval: question.id }, 'the webhook for approvals did not take a question in time');
        over.abort();
      });
      const telling = tell(to, question, AbortSignal.any([over.signal, closing.signal])).finally(() => {
        cancel();
        underWay.delete(telling);
      });
      underWay.add(telling);
      return end;
    },
    async close() {
      closing.abort();
      await Promise.all(underWay);
    },
  };
}

/** Links that answer a question: its holder may answer, so no link is in a log, an error or an audit line. */

/** Question of a link. An id may be used again after some days, with another end. */
type Linked = Pick<Question, 'id' | 'expiresAt'>;

/** Makes links, and recognizes them. */
export interface ApprovalLinks {
  /** `/approve/ID/SIGNATURE`. */
  pathFor(question: Linked): string;
  /** Returns the question of a link; null: an invalid signature. Takes constant time. */
  verify(link: LinkParts): Linked | null;
}

/** A path that has the form of a link. */
interface LinkParts {
  readonly id: string;
  /** Time at which the question ends (6 bytes), and an HMAC over that and the id (32 bytes), in base64url. */
  readonly signature: string;
}

const linkPath = /^\/approve\/([0-9a-z]{8})\/([A-Za-z0-9_-]{51})$/;
/** The end of the question, in characters of base64url. */
const endLength = 8;

/**
 * Signatures are made by the vault, so every process with the key knows them, and nothing has to be looked up to tell a
 * wrong one. They have 256 bits, so nobody need count how often one was wrong.
 */
export function createApprovalLinks(vault: Pick<Vault, 'mac'>): ApprovalLinks {
  const signatureOf = ({ id, expiresAt }: Linked) => {
    const end = Buffer.alloc(6);
    end.writeUIntBE(expiresAt, 0, 6);
    return (
      end.toString('base64url') +
      Buffer.from(vault.mac('approval-link', `${id} ${expiresAt}`), 'hex').toString('base64url')
    );
  };
  return {
    pathFor: (question) => `/approve/${question.id}/${signatureOf(question)}`,
    verify({ id, signature }) {
      const expiresAt = Buffer.from(signature.slice(0, endLength), 'base64url').readUIntBE(0, 6);
      // Compares texts: several texts of base64url decode to the same bytes.
      const [given, right] = [Buffer.from(signature), Buffer.from(signatureOf({ id, expiresAt }))];
      return given.length === right.length && timingSafeEqual(given, right) ? { id, expiresAt } : null;
    },
  };
}

/** The parts of a link; null: the path is none. */
export function parseLinkPath(path: string): LinkParts | null {
  const [, id, signature] = linkPath.exec(path) ?? [];
  return id === undefined || signature === undefined ? null : { id, signature };
}

/** JSON message of the webhook. Its names are public. */
export interface QuestionMessage {
  /** One line for chat programs. */
  readonly text: string;
  readonly id: string;
  /** ISO 8601. */
  readonly expires_at: string;
  readonly agent: string | null;
  readonly lease: string | null;
  readonly purpose: string | null;
  readonly method: string;
  /** Without query. */
  readonly url: string;
  /** Parts that the message leaves out: the query, and the announced bytes of the body; null: unknown length. */
  readonly has_query: boolean;
  readonly body_bytes: number | null;
  readonly grant: string;
  readonly user: string;
  readonly provider: string;
  /** The agent's own words. */
  readonly reason: string | null;
  /** Position of the rule in the config, and its name. */
  readonly rule: string;
  readonly rule_name: string | null;
  /** Link to answer; its holder may answer. Null: no pages are served. */
  readonly link: string | null;
  readonly command: string;
}

/** @param link the whole link */
export function questionMessage(question: Question, link: string | null): QuestionMessage {
  const { id, expiresAt, who, method, scheme, authority, path, grantName, grantUser } = question;
  const command = `sidekey approve ${id}`;
  const asker = who.agent ?? 'A caller on this machine';
  const wanted = `${brief(plain(method), 40)} ${brief(`${authority}${plain(path)}`, 400)} with the grant ${grantName}`;
  const unshown = unshownText(question);
  return {
    text: `${asker} asks for ${wanted}${unshown === null ? '' : `, and sends ${unshown}`}. Answer: ${link ?? command}`,
    id,
    expires_at: new Date(expiresAt).toISOString(),
    agent: who.agent,
    lease: who.lease,
    purpose: question.purpose,
    method,
    url: `${scheme}://${authority}${path}`,
    has_query: question.query !== null,
    body_bytes: question.bodyBytes,
    grant: grantName,
    user: grantUser,
    provider: question.provider,
    reason: question.reason,
    rule: question.rule,
    rule_name: question.ruleName,
    link,
    command,
  };
}

/** The text in so many characters: of a longer one the beginning and the end, so that what follows it stays in sight. */
function brief(text: string, most: number): string {
  if (text.length <= most) return text;
  const mark = ` …${text.length} characters in all… `;
  const end = Math.floor((most - mark.length) / 3);
  return `${text.slice(0, most - mark.length - end)}${mark}${text.slice(text.length - end)}`;
}

/**
 * The agent chose it, and chat programs read markup in the line: `<https://evil|Answer here>`. So what is no plain part of
 * a URL is percent-encoded, there is no scheme that would make a link of it, and the reason is left out of the line.
 */
function plain(text: string): string {
  return Array.from(Buffer.from(text), plainByte).join('');
}

function plainByte(byte: number): string {
  const character = String.fromCharCode(byte);
  return /[A-Za-z0-9/._~%-]/.test(character)
    ? character
    : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}
