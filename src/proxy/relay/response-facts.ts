import type { RawFields } from '../fields.ts';
import { announcesInVain } from '../h1/framing.ts';
import type { ResponseHeadBytes } from '../h1/response-head.ts';

/** The fields of a final head, without the length that a 204 announces and cannot have. */
export function endToEndFields(head: ResponseHeadBytes): RawFields {
  const fields = head.raw();
  if (head.status !== 204 || !announcesInVain(head)) return fields;
  return fields.filter((_, index) => fields[index - (index % 2)]!.toLowerCase() !== 'content-length');
}

/** `timeout` of a response's `Keep-Alive`, in milliseconds; null: it says nothing. */
export function keptFor(head: ResponseHeadBytes): number | null {
  const value = head.first('keep-alive');
  if (value === null) return null;
  const seconds = /(?:^|[\s,;])timeout\s*=\s*"?([0-9]{1,9})/i.exec(value)?.[1];
  return seconds === undefined ? null : Number(seconds) * 1_000;
}
