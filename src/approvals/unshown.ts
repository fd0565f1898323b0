import type { Question } from './approval.ts';

/** That a request has a query or a body, which nobody is shown: the end of a sentence with `has`. Null: it has neither. */
export function unshownText({ query, bodyBytes }: Pick<Question, 'query' | 'bodyBytes'>): string | null {
  const body = bodyBytes === null ? ['a body'] : bodyBytes === 0 ? [] : [`${bytesText(bodyBytes)} of body`];
  const parts = [...(query === null ? [] : ['a query']), ...body];
  if (parts.length === 0) return null;
  return `${parts.join(' and ')}, which ${parts.length === 1 ? 'is' : 'are'} not shown`;
}

/** `5,000 bytes` */
function bytesText(bytes: number): string {
  return bytes === 1 ? '1 byte' : `${bytes.toLocaleString('en-US')} bytes`;
}
