import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import type { Hop } from '../proxy/upstream/through-proxy.ts';
import { readUrl } from './outgoing-request.ts';

/** Fields that a redirect to another host keeps. None can contain a key or select a grant. */
const forEverybody = new Set(['user-agent', 'accept', 'accept-language', 'content-type', 'sidekey-reason']);

/**
 * Returns the request of a redirect (RFC 9110 §15.4); null: no redirect. The proxy checks it like any other,
 * and adds only the credential of the new host.
 *
 * @throws SidekeyError `input_invalid` if its body cannot be sent again, `upstream_protocol` if the location
 * is invalid
 */
export function nextHop(hop: Hop, status: number, location: string | undefined): Hop | null {
  if (location === undefined || ![301, 302, 303, 307, 308].includes(status)) return null;
  const url = resolved(location, hop.url);
  const { method } = hop;
  const isNew = (status === 303 && method !== 'HEAD') || (status < 303 && method === 'POST');
  const body = isNew ? null : hop.body;
  if (body?.repeatable === false) {
    throw inputInvalid(
      'The redirect needs the body a second time, and the body cannot be read again.',
      'send the request to the new address, or give the body as a file',
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
    // Non-ASCII bytes of a field are UTF-8.
    const text = Buffer.from(location, 'latin1').toString('utf8');
    return readUrl(new URL(text, from).href);
  } catch {
    throw new SidekeyError('upstream_protocol', 'The redirect does not lead to an http or https URL.');
  }
}
