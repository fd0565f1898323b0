/** Tells a receiver of each question, such as a chat program. It holds up nobody: whatever fails is tried again. */
import { post } from '../audit/sinks/post.ts';
import { SinkFailure } from '../audit/sinks/sink.ts';
import { signature } from '../audit/sinks/webhook.ts';
import type { ApprovalWebhook } from '../config/approval-settings.ts';
import { errorPhrase } from '../error-facts.ts';
import { pause, type Timers } from '../grants/timers.ts';
import type { Log } from '../log.ts';
import type { Question } from './approval.ts';
import { questionMessage } from './question-message.ts';

/** What it works with. */
export interface ApprovalTellerOptions {
  /** As the config says at that moment; null: nobody is told. */
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
export interface ApprovalTeller {
  /** Begins to tell of a question, until it expires. What it answers with is to be called when the question is over. */
  readonly announce: (question: Question) => () => void;
  /** Gives up what is not told yet. */
  close(): Promise<void>;
}

/** Milliseconds for one POST. */
const postTimeout = 10_000;
const shortestBackOff = 1_000;
const longestBackOff = 30_000;

/** What it tells is signed as the audit's webhooks are (`Sidekey-Signature`), where there is a secret. */
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
