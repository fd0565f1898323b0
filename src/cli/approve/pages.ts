import type { Question } from '../../approvals/approval.ts';
import { createApprovalLinks, sealHeader } from '../../approvals/webhook.ts';
import type { AdminConfig } from '../../config/approvals.ts';
import type { Vault } from '../../vault/vault.ts';
import { proxyUrl } from '../format.ts';

/** Pages that a running proxy serves on `admin.listen`. */
export interface ApprovalPages {
  /** Returns the link of the page. */
  readonly pageOf: (question: Question) => string;
  /** Returns the body of a waiting request. Null: no proxy of this installation answers, or it shows none. */
  readonly bodyOf: (question: Question) => Promise<string | null>;
}

/** Milliseconds for one answer. */
const patience = 1_000;

/** Returns null where the address is not known: no `admin.listen`, or a port that is chosen at start. */
export function approvalPages({ listen, url }: AdminConfig, vault: Pick<Vault, 'mac'>): ApprovalPages | null {
  if (listen === null || listen.port === 0) return null;
  const links = createApprovalLinks(vault);
  const local = proxyUrl(listen);
  return {
    pageOf: (question) => (url ?? local) + links.pathFor(question),
    async bodyOf(question) {
      if (question.bodyBytes === 0) return null;
      try {
        const answer = await fetch(local + links.pathFor(question, 'body'), {
          redirect: 'error',
          signal: AbortSignal.timeout(patience),
        });
        const body = await answer.text();
        // Another program may have the port.
        return answer.headers.get(sealHeader) === links.sealOf(question, body) ? body : null;
      } catch {
        return null;
      }
    },
  };
}
