import { timingSafeEqual } from 'node:crypto';
import { SinkFailure } from '../audit/export/sink.ts';
import { post, signature } from '../audit/export/http.ts';
import type { ApprovalWebhook } from '../config/approvals.ts';
import { errorPhrase } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { pause, type Timers } from '../lib/timers.ts';
import type { Vault } from '../vault/vault.ts';
import { type Question, unshownText } from './approval.ts';

/**
 * Webhook that sends each question to a receiver, such as a chat program. Failed calls are repeated in the background.
 */

/** Options of `createApprovalTeller`. */
interface ApprovalTellerOptions {
  /** Webhook of the config in force; null: none. */
  readonly webhook: () => ApprovalWebhook | null;
  readonly readSecret: (reference: NonNullable<ApprovalWebhook['secret']>) => Promise<string>;
  /** Returns the guarded `fetch` in force. */
  readonly fetch: () => typeof globalThis.fetch;
  /** Returns the complete link for the answer to a question; null: no listener. */
  readonly link: (question: Question) => string | null;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
  readonly log: Pick<Log, 'info' | 'warn'>;
  /** Between 0 and 1, for the spread of back-off. */
  readonly random: () => number;
}

/** Sends questions to the webhook. */
interface ApprovalTeller {
  /**
   * Sends a question until a call succeeds or the question expires. Call the returned function when the question has
   * ended.
   */
  readonly announce: (question: Question) => () => void;
  /** Cancels all calls, and waits for their end. */
  close(): Promise<void>;
}

/** Milliseconds for one POST. */
const postTimeout = 10_000;
const shortestBackOff = 1_000;
const longestBackOff = 30_000;

/** Creates the sender. With a secret, it signs messages like the HTTP sinks of the audit log (`Sidekey-Signature`). */
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

/** Links for answers to questions. The holder of a link may answer, so logs, errors and audit lines contain no link. */

/** Response header with `ApprovalLinks.sealOf`. */
export const sealHeader = 'sidekey-seal';

/** Question of a link. A later question may have the same id with another `expiresAt`. */
type Linked = Pick<Question, 'id' | 'expiresAt'>;

/** Creates and verifies links. */
export interface ApprovalLinks {
  /** Returns `/approve/ID/SIGNATURE`. With `body`: the path of its body alone, `/approve/body/ID/SIGNATURE`. */
  pathFor(question: Linked, part?: 'body'): string;
  /** Returns the question of a link; null: an invalid signature. Takes constant time. */
  verify(link: LinkParts): Linked | null;
  /** Returns an HMAC that proves that a process with the key sent this body. */
  sealOf(question: Linked, body: string): string;
}

/** A path that has the form of a link. */
interface LinkParts {
  readonly id: string;
  /** Its holder may read the body of the question, and not answer. */
  readonly isBody: boolean;
  /** Time at which the question ends (6 bytes), and an HMAC over that and the id (32 bytes), in base64url. */
  readonly signature: string;
}

const linkPath = /^\/approve\/(body\/)?([0-9a-z]{8})\/([A-Za-z0-9_-]{51})$/;
/** Length of the encoded end of the question, in characters of base64url. */
const endLength = 8;

/**
 * Creates and verifies links with a key of the vault, so every process with the master key accepts them without a
 * look-up. Signatures have 256 bits, so failed attempts are not counted.
 */
export function createApprovalLinks(vault: Pick<Vault, 'mac'>): ApprovalLinks {
  const signatureOf = ({ id, expiresAt }: Linked, isBody: boolean) => {
    const end = Buffer.alloc(6);
    end.writeUIntBE(expiresAt, 0, 6);
    const signed = `${isBody ? 'body ' : ''}${id} ${expiresAt}`;
    return (
      end.toString('base64url') + Buffer.from(vault.mac('approval-link', signed), 'hex').toString('base64url')
    );
  };
  return {
    pathFor: (question, part) =>
      `/approve/${part === 'body' ? 'body/' : ''}${question.id}/${signatureOf(question, part === 'body')}`,
    sealOf: ({ id, expiresAt }, body) => vault.mac('approval-link', `text ${id} ${expiresAt} ${body}`),
    verify({ id, isBody, signature }) {
      const expiresAt = Buffer.from(signature.slice(0, endLength), 'base64url').readUIntBE(0, 6);
      // Compares the texts, because several base64url texts decode to the same bytes.
      const [given, right] = [Buffer.from(signature), Buffer.from(signatureOf({ id, expiresAt }, isBody))];
      return given.length === right.length && timingSafeEqual(given, right) ? { id, expiresAt } : null;
    },
  };
}

/** Returns the parts of a link; null if the path does not have its form. */
export function parseLinkPath(path: string): LinkParts | null {
  const [, body, id, signature] = linkPath.exec(path) ?? [];
  return id === undefined || signature === undefined ? null : { id, isBody: body !== undefined, signature };
}

/** JSON message of the webhook. Its member names are public. */
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
  /** `Sidekey-Reason` of the agent. */
  readonly reason: string | null;
  /** Position of the rule in the config, and its name. */
  readonly rule: string;
  readonly rule_name: string | null;
  /** Link to answer; its holder may answer. Null: no pages are served. */
  readonly link: string | null;
  readonly command: string;
}

/** Returns the message for a question. @param link the complete link */
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

/** Shortens a text to `most` characters. Keeps its beginning and its end, and states its length. */
function brief(text: string, most: number): string {
  if (text.length <= most) return text;
  const mark = ` …${text.length} characters in all… `;
  const end = Math.floor((most - mark.length) / 3);
  return `${text.slice(0, most - mark.length - end)}${mark}${text.slice(text.length - end)}`;
}

/**
 * Percent-encodes all characters that are not plain parts of a URL. The agent chose the text, and chat programs
 * interpret markup in it, such as `<https://evil|Answer here>`. For the same reason the line has no scheme, which would
 * make a link, and no reason of the agent.
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
