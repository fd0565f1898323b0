import type { CallerMode } from '../agents/authentication.ts';
import { cloudTarget } from './cloud-identity.ts';
import { valuesOf, withoutFields } from './http/fields.ts';
import type { RequestHead } from './http/head.ts';
import { SidekeyError } from '../lib/errors.ts';
import {
  authorityText,
  isAddress,
  ownHost,
  parseAbsoluteTarget,
  parseAuthority,
} from './policy/authority.ts';

/** Beginning of the path of a request to the proxy that names another host: `/+/api.openai.com/v1/models`. */
const beginning = '/+/';

/** A token of an agent or of a lease, by itself, as Bearer, or as the password of Basic. */
const tokenForm = /^sidekey_(?:agent|lease)_[\w-]{43}$/;

/** Fields in which programs send the key of an API, and SDKs of Azure their secret. */
const keyFields: ReadonlySet<string> = new Set([
  'authorization',
  'x-api-key',
  'api-key',
  'x-goog-api-key',
  'x-identity-header',
]);

/**
 * Reports whether a request outside a tunnel names its host in its path, as programs with a base URL do, or
 * is for one of the endpoints of clouds.
 */
export function hasBaseUrl(head: Pick<RequestHead, 'target' | 'fields'>): boolean {
  return head.target.startsWith(beginning) || cloudTarget(head) !== null;
}

/**
 * Returns such a request in the form that a proxy gets: the absolute target, and the token of the agent in
 * `Proxy-Authorization`. All other bytes of the target stay. Programs send the token in place of an API key.
 *
 * The error is `bad_request`, or `browser_refused` for requests that a web page may have sent: browsers let
 * any page send requests to this machine, and the name of a page may resolve to the address of this machine.
 *
 * @param mode whether callers without a token are served
 */
export function fromBaseUrl(head: RequestHead, mode: CallerMode): RequestHead | SidekeyError {
  const { fields } = head;
  const ofCloud = cloudTarget(head);
  const named =
    ofCloud === null ? `https://${head.target.slice(beginning.length)}` : `http://${ownHost}${ofCloud}`;
  const target = parseAbsoluteTarget(named);
  if (target === null)
    return new SidekeyError('bad_request', 'The path names no host.', {
      hint: 'use a base address such as http://127.0.0.1:8377/+/api.openai.com/v1',
    });
  // `discover` checks those for clouds, because it also gets them in absolute form.
  const refusal = ofCloud === null ? pageRefusal(fields) : null;
  if (refusal !== null) return refusal;
  const hosts = valuesOf(fields, 'host');
  const host = hosts.length === 1 ? parseAuthority(hosts[0] ?? '', 'http') : null;
  if (host === null) return new SidekeyError('bad_request', 'The request has not one valid Host field.');
  if (mode !== 'required' && host.host !== 'localhost' && !isAddress(host.host))
    return new SidekeyError('browser_refused');
  let login: string | null = null;
  // A token is not sent on, also where another field says who calls.
  const forwarded = withoutFields(fields, (name, value) => {
    const token = keyFields.has(name) ? loginIn(value) : null;
    login ??= token;
    return token !== null || name === 'host';
  });
  const shown =
    login === null || valuesOf(fields, 'proxy-authorization').length > 0
      ? []
      : ['Proxy-Authorization', login];
  return {
    method: head.method,
    target: named,
    version: head.version,
    fields: ['Host', authorityText(target.authority), ...forwarded, ...shown],
  };
}

/**
 * Returns the refusal of a request that a web page may have sent; null: a program sent it.
 *
 * @param more names of further fields that the request may not have
 */
export function pageRefusal(
  fields: RequestHead['fields'],
  more: readonly string[] = [],
): SidekeyError | null {
  const names = ['origin', 'sec-fetch-site', 'sec-fetch-dest', ...more];
  if (!names.some((name) => valuesOf(fields, name).length > 0)) return null;
  return new SidekeyError('browser_refused', undefined, {
    hint: 'call it from a program, without the fields Origin and Sec-Fetch-*; web pages are always refused',
  });
}

/** Returns the value of `Proxy-Authorization` for a token in place of an API key; null: no token. */
function loginIn(value: string): string | null {
  const [scheme = '', text = value] = value.split(/ +/, 2);
  if (/^basic$/i.test(scheme)) {
    const pair = Buffer.from(text, 'base64').toString();
    return tokenForm.test(pair.slice(pair.indexOf(':') + 1)) ? value : null;
  }
  return tokenForm.test(text) ? `Bearer ${text}` : null;
}
