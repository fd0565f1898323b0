import type { AuditLine } from '../domain/event.ts';

/** Events before which an exchange waits for a person: the answer, or its end without one. */
const afterWait: ReadonlySet<string> = new Set(['approval.allowed', 'outcome', 'denied']);

/**
 * Yields the lines. The `duration_ms` of an outcome is without the time that the exchange waited for a person.
 * If the question is not among the lines, its time is unknown and not subtracted.
 */
export async function* withoutWaiting(lines: AsyncIterable<AuditLine>): AsyncGenerator<AuditLine> {
  /** Times of unanswered questions by exchange, in milliseconds since the epoch. */
  const askedAt = new Map<string, number>();
  /** Milliseconds that an exchange has waited so far. */
  const waited = new Map<string, number>();
  for await (const line of lines) {
    const { event, time, exchange = '', duration_ms: took } = line;
    if (event === 'approval.asked') askedAt.set(exchange, Date.parse(time));
    const begin = askedAt.get(exchange);
    if (begin !== undefined && afterWait.has(event)) {
      askedAt.delete(exchange);
      // Processes on other machines may record answers, so clocks may differ.
      waited.set(exchange, (waited.get(exchange) ?? 0) + Math.max(0, Date.parse(time) - begin));
    }
    const wait = waited.get(exchange);
    if (wait === undefined || (event !== 'outcome' && event !== 'denied')) {
      yield line;
      continue;
    }
    waited.delete(exchange);
    yield { ...line, duration_ms: took && Math.max(0, took - wait) };
  }
}
