import type { AuditEvent } from '../audit/event.ts';
import { parseAuthority } from '../policy/authority.ts';
import type { Answer, Approval } from './approval.ts';

/** What the audit says of an answer, before it takes effect. */
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
