import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import type { Question } from '../../domain/approval.ts';
import { createApprovalLinks, sealHeader } from '../../agents/approvals/announce.ts';
import type { AdminConfig } from '../../config/admin.ts';
import type { Vault } from '../../store/vault/vault.ts';
import { localAdminUrl } from '../../operations/format.ts';

/** Pages that a running proxy serves on `admin.listen`. */
export interface ApprovalPages {
  /** Returns the link of the page. */
  readonly pageOf: (question: Question) => string;
  /** Returns the body of a pending request. Null: no proxy of this installation answers, or it shows none. */
  readonly bodyOf: (question: Question) => Promise<string | null>;
}

/** Milliseconds until a page must respond. */
const patience = 1_000;

/** Returns null if the address is unknown: no `admin.listen`, or a port that is chosen at start. */
export function approvalPages(
  { listen, url, tls }: AdminConfig,
  vault: Pick<Vault, 'mac'>,
): ApprovalPages | null {
  if (listen === null || listen.port === 0) return null;
  const links = createApprovalLinks(vault);
  const local = localAdminUrl({ listen, tls });
  return {
    pageOf: (question) => (url ?? local) + links.pathFor(question),
    async bodyOf(question) {
      if (question.bodyBytes === 0) return null;
      try {
        const { body, seal } = await answerOf(local + links.pathFor(question, 'body'), tls);
        // Another program may use the port.
        return seal === links.sealOf(question, body) ? body : null;
      } catch {
        return null;
      }
    },
  };
}

/** Reads a page. Trusts the file's certificate under any name: its names are those for other machines. */
async function answerOf(
  url: string,
  tls: AdminConfig['tls'],
): Promise<{ readonly body: string; readonly seal: unknown }> {
  const options = { agent: false, signal: AbortSignal.timeout(patience) };
  const { get } = await import(tls === null ? 'node:http' : 'node:https');
  const sent: ClientRequest =
    tls === null
      ? get(url, options)
      : get(url, {
          ...options,
          ca: await readFile(tls.cert),
          allowPartialTrustChain: true,
          checkServerIdentity: () => undefined,
        });
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  return { body: await text(answer), seal: answer.headers[sealHeader] };
}
