import { SidekeyError } from '../lib/errors.ts';
import {
  authorityText,
  parseAbsoluteTarget,
  parseAuthority,
  parseConnectTarget,
  sameAuthority,
  type AbsoluteTarget,
  type Authority,
} from '../policy/authority.ts';
import { valuesOf } from '../http/fields.ts';
import { Malformed } from '../http/h1/scan.ts';
import type { InterceptedTunnel } from '../http/message.ts';
import type { RequestHead } from '../http/head.ts';

/** Authority of a request, and its raw path and query. */
export type Target = AbsoluteTarget;

/**
 * Accepts targets without blanks and control bytes, and without a fragment: a request target has none (RFC 9112 §3.2), some
 * servers remove it, and others take it for a part of the path.
 */
const sendablePath = /^\/[\x21\x22\x24-\x7e]*$/;

/** None is encoded here: a recipient does not correct a target and go on (RFC 9112 §3.2). */
const beyondAscii = /[^\0-\x7f]/;

/**
 * The one authority of a request. Inside CONNECT it is the tunnel's, outside it is the target's; a `Host` or an SNI
 * that says otherwise is refused and never followed, for two readings of one request are how credentials get lost.
 */
export function targetOf(head: RequestHead, tunnel: InterceptedTunnel | null): Target | SidekeyError {
  if (head.version === 'other') return unknownVersion();
  const hosts = valuesOf(head.fields, 'host');
  if (hosts.length > 1) return new SidekeyError('bad_request', 'The request has more than one Host field.');
  const [host] = hosts;
  if (beyondAscii.test(head.target)) return new Malformed('request', 'raw_target');
  const target = tunnel === null ? parseAbsoluteTarget(head.target) : targetInTunnel(head, tunnel);
  if (target === null || !sendablePath.test(target.path)) {
    return new SidekeyError('bad_request', 'The request target is not one that a proxy can forward.', {
      hint: 'use CONNECT, or a target such as https://host/path',
    });
  }
  if (host === undefined && head.authority === undefined && head.version !== '1.0') {
    return new SidekeyError('bad_request', 'The request has no Host field.');
  }
  const wanted = tunnel?.authority ?? target.authority;
  if (!sameAuthority(target.authority, wanted)) return mismatch('The request target', wanted);
  if (head.authority !== undefined && !names(head.authority, wanted))
    return mismatch('The :authority', wanted);
  if (host !== undefined && !names(host, wanted)) return mismatch('The Host field', wanted);
  if (
    tunnel !== null &&
    tunnel.serverName !== null &&
    !names(tunnel.serverName, { ...wanted, scheme: 'https', port: 443 })
  ) {
    return mismatch('The TLS server name', wanted);
  }
  return target;
}

/**
 * The authority that a CONNECT names. Its `Host` is left aside (RFC 9112 §3.2.3): some clients name the proxy there. What
 * comes through the tunnel is held against the authority.
 */
export function connectTargetOf({ target: text, fields, version }: RequestHead): Authority | SidekeyError {
  const target = parseConnectTarget(text);
  if (target === null) return new SidekeyError('bad_request', 'CONNECT names no host and port.');
  if (version === 'other') return unknownVersion();
  if (valuesOf(fields, 'host').length > 1)
    return new SidekeyError('bad_request', 'The request has more than one Host field.');
  return target;
}

/** RFC 9112 §2.3. What is no HTTP/1 has another framing. */
function unknownVersion(): SidekeyError {
  return new SidekeyError('bad_request', 'The request is neither HTTP/1.1 nor HTTP/1.0.');
}

function targetInTunnel(
  { target: text, version }: RequestHead,
  { authority }: InterceptedTunnel,
): Target | null {
  if (text.startsWith('/')) return { authority, path: text };
  // `:path` has no other form that is carried (RFC 9113 §8.3.1).
  return version === '2' ? null : parseAbsoluteTarget(text);
}

function names(text: string, authority: Authority): boolean {
  // The usual case needs no parsing.
  if (text === authorityText(authority)) return true;
  const parsed = parseAuthority(text, authority.scheme);
  return parsed !== null && sameAuthority(parsed, authority);
}

function mismatch(what: string, wanted: Authority): SidekeyError {
  return new SidekeyError(
    'authority_mismatch',
    `${what} differs from ${wanted.host}:${wanted.port}, where the request was to go.`,
    { hint: 'send the request through a connection of its own' },
  );
}
