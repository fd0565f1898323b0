import type { FieldTable } from './field-table.ts';

/**
 * Whether a message leaves its connection open for another one (RFC 9112 §9.3). `close` goes before all else; where a
 * client of old says it of its proxy (`Proxy-Connection`), it is heard too, and `keep-alive` there is not.
 */
export function persists(head: FieldTable & { readonly version: '1.0' | '1.1' }): boolean {
  if (head.lists('connection', 'close') || head.lists('proxy-connection', 'close')) return false;
  return head.version === '1.1' || head.lists('connection', 'keep-alive');
}
