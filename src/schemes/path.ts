import { SidekeyError } from '../lib/errors.ts';
import { type Carrier, conceal } from './scheme.ts';

/** RFC 3986 §3.3 without the percent sign: what a segment may hold as it is, and no upstream reads as two things. */
const segmentText = /^[A-Za-z0-9\-._~!$&'()*+,;=:@]+$/;

/** What a placeholder or a token looks like. */
const credentialText = /^[A-Za-z0-9\-_~:]+(?=[/?]|$)/;

/** A token that is a part of the path. Servers repeat that, and not the fields. */
export function inPath(prefixes: readonly string[], token: string): Carrier {
  const secrets = { texts: [token] };
  return {
    fields: [],
    into: ({ path }) => ({
      path: pathWith(path, prefixes, token),
      conceal: (answered) => conceal(answered, secrets),
    }),
  };
}

/**
 * A path in which the credential is the rest of the segment that a prefix begins, as Telegram has it. Whatever the
 * client put there (nothing, or a placeholder) goes: `/bot/getMe` and `/botX/getMe` become `/botTOKEN/getMe`.
 *
 * @param path origin-form, with its query
 * @throws SidekeyError `policy_violation`: the path begins with no prefix, so the request would go out without the
 * credential; or the credential cannot stand in a path.
 */
function pathWith(path: string, prefixes: readonly string[], token: string): string {
  const prefix = prefixes.find((beginning) => path.startsWith(beginning));
  if (prefix === undefined) {
    throw new SidekeyError(
      'policy_violation',
      `The credential of this grant stands in the path, which must begin with ${prefixes.join(' or ')}.`,
      { hint: `leave the credential out, and Sidekey puts it in: ${prefixes[0]}/…` },
    );
  }
  // A segment of dots alone would be taken out by whoever reads the path.
  if (!segmentText.test(token) || /^\.+$/.test(token)) {
    throw new SidekeyError(
      'policy_violation',
      'The stored credential holds a byte that must not stand in a path.',
      { hint: 'add the grant again with --replace' },
    );
  }
  const rest = path.slice(prefix.length).replace(/^[^/?]*/, '');
  return `${prefix}${token}${rest}`;
}

/**
 * The path without what stands in the credential's place, which the client itself put there. What could be read as more
 * than a part of one segment is no credential, and stays.
 */
export function pathWithout(path: string, prefixes: readonly string[]): string {
  const prefix = prefixes.find((beginning) => path.startsWith(beginning));
  return prefix === undefined ? path : `${prefix}${path.slice(prefix.length).replace(credentialText, '')}`;
}
