import { timingSafeEqual } from 'node:crypto';
import { SinkFailure } from '../../audit/export/sink.ts';
import { errorPhrase } from '../../lib/errors.ts';
import { hintText, remedy } from '../../lib/hint.ts';
import type { Log } from '../../lib/log.ts';
import { pause, type Timers } from '../../lib/timers.ts';
import type { Vault } from '../../store/vault/vault.ts';
import { choicesOf, fieldName, likeText, type Question, unshownText } from '../../domain/approval.ts';

/** Sends each question to receivers, such as chat programs. Failed calls are repeated in the background. */

/** A place that questions are sent to. */
export interface ApprovalReceiver {
  /** Name for the log: `webhook`, `slack`. */
  readonly name: string;
  /** @throws SinkFailure, and SidekeyError as `readSecret` */
  readonly send: (asked: Announcement, signal: AbortSignal) => Promise<void>;
}

/** Options of `createApprovalTeller`. */
interface ApprovalTellerOptions {
  /** Returns the receivers of the config in force. */
  readonly receivers: () => readonly ApprovalReceiver[];
  /** Returns the complete link for the answer to a question; null: no listener. */
  readonly link: (question: Question) => string | null;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly timers: Timers;
  readonly log: Pick<Log, 'info' | 'warn'>;
  /** Random number from 0 to 1, which spreads the retries. */
  readonly random: () => number;
}

/** Milliseconds for one POST. */
const postTimeout = 10_000;
const shortestBackOff = 1_000;
const longestBackOff = 30_000;

/** Creates the sender of questions to receivers. */
export function createApprovalTeller(options: ApprovalTellerOptions) {
  const { receivers, link, now, timers, log, random } = options;
  const closing = new AbortController();
  const underWay = new Set<Promise<void>>();

  async function send(to: ApprovalReceiver, asked: Announcement, over: AbortSignal): Promise<void> {
    const late = new AbortController();
    const cancel = timers.after(postTimeout, () => late.abort());
    await to.send(asked, AbortSignal.any([over, late.signal])).finally(cancel);
  }

  async function tell(to: ApprovalReceiver, asked: Announcement, over: AbortSignal): Promise<void> {
    const facts = { approval: asked.message.id, receiver: to.name };
    for (let attempt = 0; !over.aborted; attempt += 1) {
      try {
        await send(to, asked, over);
        if (attempt > 0) log.info(facts, 'the receiver of approvals has the question now');
        return;
      } catch (error) {
        if (over.aborted) return;
        if (attempt === 0) {
          const reason = error instanceof SinkFailure ? error.message : errorPhrase(error);
          log.warn(
            { ...facts, reason },
            'the receiver of approvals did not take a question; it is tried again',
          );
        }
        const wait = Math.min(longestBackOff, shortestBackOff * 2 ** Math.min(attempt, 10));
        const asked = error instanceof SinkFailure ? (error.retryAfterMs ?? 0) : 0;
        await pause(timers, Math.max(asked, wait * (0.5 + random() / 2)), over);
      }
    }
  }

  /** Sends a question to one receiver in the background. Returns the function that ends this. */
  function begin(to: ApprovalReceiver, asked: Announcement, expiresAt: number): () => void {
    const over = new AbortController();
    const cancel = timers.after(expiresAt - now(), () => {
      const facts = { approval: asked.message.id, receiver: to.name };
      log.warn(facts, 'the receiver of approvals did not take a question in time');
      over.abort();
    });
    const telling = tell(to, asked, AbortSignal.any([over.signal, closing.signal])).finally(() => {
      cancel();
      underWay.delete(telling);
    });
    underWay.add(telling);
    return () => {
      cancel();
      over.abort();
    };
  }

  return {
    /** Sends a question until a call succeeds or it expires. Call the returned function when it has ended. */
    announce: (question: Question): (() => void) => {
      if (closing.signal.aborted) return () => {};
      const message = questionMessage(question, link(question));
      const asked = { message, summary: summaryOf(question), exchange: question.exchange };
      const ends = receivers().map((to) => begin(to, asked, question.expiresAt));
      return () => ends.forEach((end) => end());
    },
    /** Cancels all calls, and waits for their end. */
    async close(): Promise<void> {
      closing.abort();
      await Promise.all(underWay);
    },
  };
}

/** Links to answer questions. Anyone with a link may answer, so logs, errors and audit lines have none. */

/** Response header with `ApprovalLinks.sealOf`. */
export const sealHeader = 'sidekey-seal';

/** Question of a link. A later question may have the same id with another `expiresAt`. */
type Linked = Pick<Question, 'id' | 'expiresAt'>;

export type ApprovalLinks = ReturnType<typeof createApprovalLinks>;

/** A path that has the form of a link. */
interface LinkParts {
  readonly id: string;
  /** True for the token that reads the body of the question, and cannot answer the question. */
  readonly isBody: boolean;
  /** Time at which the question ends (6 bytes), and an HMAC over that and the id (32 bytes), in base64url. */
  readonly signature: string;
}

const linkPath = /^\/approve\/(body\/)?([0-9a-z]{8})\/([A-Za-z0-9_-]{51})$/;
/** Length of the encoded end of the question, in characters of base64url. */
const endLength = 8;

/**
 * Creates and verifies links with a key of the vault, so any process with the master key verifies them
 * without a lookup. Signatures have 256 bits, so failed attempts are not counted.
 */
export function createApprovalLinks(vault: Pick<Vault, 'mac'>) {
  const signatureOf = ({ id, expiresAt }: Linked, isBody: boolean) => {
    const end = Buffer.alloc(6);
    end.writeUIntBE(expiresAt, 0, 6);
    const signed = `${isBody ? 'body ' : ''}${id} ${expiresAt}`;
    return (
      end.toString('base64url') + Buffer.from(vault.mac('approval-link', signed), 'hex').toString('base64url')
    );
  };
  return {
    /** Returns `/approve/ID/SIGNATURE`, or `/approve/body/ID/SIGNATURE`, which only shows the body. */
    pathFor: (question: Linked, part?: 'body') =>
      `/approve/${part === 'body' ? 'body/' : ''}${question.id}/${signatureOf(question, part === 'body')}`,
    /** Returns an HMAC that proves that a process with the key sent this body. */
    sealOf: ({ id, expiresAt }: Linked, body: string) =>
      vault.mac('approval-link', `text ${id} ${expiresAt} ${body}`),
    /** Returns the question of a link; null: an invalid signature. Takes constant time. */
    verify({ id, isBody, signature }: LinkParts): Linked | null {
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
export type QuestionMessage = ReturnType<typeof questionMessage>;

/** A question for receivers. */
export interface Announcement {
  readonly message: QuestionMessage;
  /** A sentence without markup, and without unchecked texts of the agent. */
  readonly summary: string;
  /** Id of the exchange, the same for a message that is sent again. */
  readonly exchange: string;
}

function summaryOf(question: Question): string {
  const { who, method, authority, path, operation, grantName } = question;
  const asker = who.agent ?? 'A caller on this machine';
  const request = `${brief(plain(method), 40)} ${brief(`${authority}${plain(path)}`, 400)}`;
  const wanted = operation === null ? `asks for ${request}` : `asks to ${operation} (${request})`;
  const names = brief(question.fields.map((field) => plain(fieldName(field))).join(', '), 200);
  const fields = names === '' ? '' : `, with the header fields ${names}`;
  const unshown = unshownText(question);
  return `${asker} ${wanted} with the grant ${grantName}${fields}${unshown === null ? '' : `, and sends ${unshown}`}.`;
}

/** Returns the message for a question. @param link the complete link */
export function questionMessage(question: Question, link: string | null) {
  const { id, expiresAt, who, method, scheme, authority, path, grantName, grantUser } = question;
  const command = hintText(remedy('approval.answer', { approval: id }));
  return {
    /** One line for chat programs. */
    text: `${summaryOf(question)} Answer: ${link ?? command}`,
    id,
    /** Time at which the question expires: ISO 8601. */
    expires_at: new Date(expiresAt).toISOString(),
    agent: who.agent,
    lease: who.lease,
    purpose: question.purpose,
    /** The `operation` of the question. */
    operation: question.operation,
    method,
    /** URL of the request without the query. */
    url: `${scheme}://${authority}${path}`,
    /** Parts that the message omits: the query, and the announced bytes of the body; null: unknown length. */
    has_query: question.query !== null,
    /** Names of the header fields that are not common. */
    field_names: question.fields.map(fieldName),
    body_bytes: question.bodyBytes,
    grant: grantName,
    user: grantUser,
    provider: question.provider,
    /** `Sidekey-Reason` of the agent. */
    reason: question.reason,
    /** Position of the rule in the config, and its name. */
    rule: question.rule,
    rule_name: question.ruleName,
    /** Possible answers, each with its effect, and a last line about further requests. */
    answers: [...choicesOf(question).map(({ label, effect }) => `${label}: ${effect}`), likeText(question)],
    /** Link to answer; its holder may answer. Null: no pages are served. */
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
 * Percent-encodes all characters that are not plain parts of a URL. The agent chose the text, and chat
 * programs interpret markup in it, such as `<https://evil|Answer here>`. For this reason, the line omits the
 * scheme, which would make a link, and the reason of the agent.
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
