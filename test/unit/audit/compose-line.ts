import type { AuditEvent } from '../../../src/domain/event.ts';
import { type ChainHead, type ChainMac, LineBatch } from '../../../src/audit/line.ts';

/** Returns the line of an event, without its newline, and the new head of the chain. */
export function composeLine(
  event: AuditEvent,
  time: string,
  node: string,
  last: ChainHead,
  mac: ChainMac,
): { readonly text: string; readonly head: ChainHead } {
  const batch = new LineBatch(mac);
  batch.begin(last);
  batch.add(event, Date.parse(time), node);
  return { text: batch.bytes().toString('utf8', 0, batch.bytes().length - 1), head: batch.head(1) };
}
