import { SidekeyError } from '../../errors.ts';
import type { Hop } from './question.ts';
import { readUrl } from './question.ts';

/** Redirects that are followed, one after the other. */
export const mostHops = 20;

/** What goes along to another host: nothing that could be a key, and nothing that chose a grant for the first host. */
const forEverybody = new Set(['user-agent', 'accept', 'accept-language', 'content-type', 'sidekey-reason']);

/**
 * The request that an answer leads to (RFC 9110 §15.4); null: it leads nowhere. Whether it may be sent is decided anew,
 * as for any other, and it gets the credential of its own host, or none.
 *
 * @throws SidekeyError `input_invalid` where its body cannot be sent again, `upstream_protocol` where it leads to no URL
 */
export function nextHop(hop: Hop, status: number, location: string | undefined): Hop | null {
  if (location === undefined || ![301, 302, 303, 307, 308].includes(status)) return null;
  const url = resolved(location, hop.url);
  const { method } = hop;
  const isNew = (status === 303 && method !== 'HEAD') || (status < 303 && method === 'POST');
  const body = isNew ? null : hop.body;
  if (body?.repeatable === false) {
    throw new SidekeyError(
      'input_invalid',
      'The redirect wants the body a second time, and it was read already.',
      {
        hint: 'give it as a file: --data-file FILE',
      },
    );
  }
  const isElsewhere = new URL(url).origin !== new URL(hop.url).origin;
  const fields = hop.fields.filter(([name]) => {
    const lower = name.toLowerCase();
    return (!isElsewhere || forEverybody.has(lower)) && (body !== null || !lower.startsWith('content-'));
  });
  return { method: isNew ? 'GET' : method, url, fields, body };
}

function resolved(location: string, from: string): string {
  try {
    // Bytes of a field, which are UTF-8 where they are not ASCII.
    const text = Buffer.from(location, 'latin1').toString('utf8');
    return readUrl(new URL(text, from).href);
  } catch {
    throw new SidekeyError('upstream_protocol', 'The redirect leads to no http or https URL.');
  }
}
