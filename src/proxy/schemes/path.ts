import { z } from 'zod';
import { text } from '../../lib/text.ts';
import { inTarget } from './credential.ts';
import { type AuthScheme, refused } from './scheme.ts';

/** Segment of RFC 3986 §3.3 without the percent sign: all upstreams read it in one way. */
const segmentText = /^[A-Za-z0-9\-._~!$&'()*+,;=:@]+$/;

/** Form of a placeholder or a token. */
const credentialText = /^[A-Za-z0-9\-_~:]+(?=[/?]|$)/;

type PathPlacement = { readonly kind: 'path'; readonly prefixes: readonly string[] };

/** The rest of a path segment after a prefix, as in Telegram's `/bot…/getMe`. Services repeat paths. */
export const path: AuthScheme<PathPlacement, { readonly path: readonly string[] }> = {
  kind: 'path',
  syntax: '{ path: [BEGINNING] }',
  schemas: [
    z.strictObject({
      path: z
        .array(
          text<string>({ description: 'The beginning of a path, up to the credential.' }, (value) =>
            /^(\/[A-Za-z0-9._-]+)+\/?$/.test(value)
              ? value
              : { problem: 'is not a beginning of a path, such as /bot' },
          ),
        )
        .min(1),
    }),
  ],
  parse: ({ path: prefixes }) => ({ kind: 'path', prefixes }),
  format: ({ prefixes }) => ({ path: prefixes }),
  describe: ({ prefixes }) => prefixes.map((prefix) => `${prefix}…`).join(', '),
  isRepeated: true,
  pathPrefixes: ({ prefixes }) => prefixes,
  sample: ({ prefixes }) => ({ path: `${prefixes[0]}/`, fields: [], body: null }),
  prepare: ({ credential }, { prefixes }) =>
    inTarget(credential, (target, token) => pathWith(target, prefixes, token)),
};

/**
 * Writes the credential as the rest of the segment after a prefix, in place of the client's text (nothing, or
 * a placeholder): `/bot/getMe` and `/botX/getMe` become `/botTOKEN/getMe`.
 *
 * @param target origin-form, with its query
 * @throws SidekeyError `policy_violation` if the path begins with no prefix, so that the request would have
 * no credential, or if the credential is not valid in a path
 */
function pathWith(target: string, prefixes: readonly string[], token: string): string {
  const prefix = prefixes.find((beginning) => target.startsWith(beginning));
  if (prefix === undefined) {
    const sentence = `The credential of this grant goes into the path, which must start with ${prefixes.join(' or ')}.`;
    throw refused(sentence, `leave the credential out, and Sidekey puts it in: ${prefixes[0]}/…`);
  }
  // Path readers remove a segment that consists only of dots.
  if (!segmentText.test(token) || /^\.+$/.test(token)) {
    const sentence = 'The stored credential has a byte that a path cannot have.';
    throw refused(sentence, 'add the grant again with --replace');
  }
  const rest = target.slice(prefix.length).replace(/^[^/?]*/, '');
  return `${prefix}${token}${rest}`;
}

/**
 * Removes the client's text in the credential's place from a path. A text that could be read as more than a
 * part of one segment is no credential, and stays.
 */
export function pathWithout(target: string, prefixes: readonly string[]): string {
  if (prefixes.length === 0) return target;
  const prefix = prefixes.find((beginning) => target.startsWith(beginning));
  if (prefix === undefined) return target;
  return `${prefix}${target.slice(prefix.length).replace(credentialText, '')}`;
}
