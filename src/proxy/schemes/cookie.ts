import { z } from 'zod';
import { withoutFields } from '../http/fields.ts';
import { text } from '../../lib/text.ts';
import { isFieldName } from '../policy/text.ts';
import { singleValue } from './credential.ts';
import { forgivingName } from './parameters.ts';
import { type AuthScheme, refused } from './scheme.ts';

/** RFC 6265 §4.1.1, `cookie-value`. */
const cookieValue =
  /^(?:[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+|"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+")$/;

/** A pair whose value begins with a quote and does not end with the closing one. */
const opensQuote = /^[^="]*=\s*"(?!(?:[^"\\]|\\.)*"\s*$)/s;

type CookiePlacement = { readonly kind: 'cookie'; readonly name: string };

/** A cookie. `Set-Cookie` of that name is removed from responses: it is as good as the credential. */
export const cookie: AuthScheme<CookiePlacement, { readonly cookie: string }> = {
  kind: 'cookie',
  syntax: '{ cookie: NAME }',
  schemas: [
    z.strictObject({
      cookie: text<string>(
        { description: 'The cookie that carries the credential.', examples: ['session'] },
        (value) => (isFieldName(value) ? value : { problem: 'is not a name of a cookie' }),
      ),
    }),
  ],
  parse: ({ cookie: name }) => ({ kind: 'cookie', name }),
  format: ({ name }) => ({ cookie: name }),
  describe: ({ name }) => `Cookie: ${name}=…`,
  accepts: () => 'single',
  prepare({ credential }, { name }) {
    const token = singleValue(credential);
    if (!cookieValue.test(token)) {
      const sentence = 'The stored credential has a byte that a cookie cannot have.';
      throw refused(sentence, 'add the grant again with --replace, with the value of the cookie alone');
    }
    const conceal = (received: readonly string[]) => withoutSetCookie(received, name);
    return {
      fields: [],
      apply({ fields }) {
        const written = withCookie(fields, name, token);
        return written.isPlaced
          ? { fields: written.fields, conceal }
          : { added: ['Cookie', `${name}=${token}`], conceal };
      },
    };
  },
};

interface Written {
  readonly fields: readonly string[];
  /** True if the cookie is in `fields`; else there is no `Cookie` field. */
  readonly isPlaced: boolean;
}

/**
 * Writes a cookie in place of the first of that name, else at the end of the last `Cookie` field (RFC 6265
 * §5.4; HTTP/2 allows several, RFC 9113 §8.2.3). Removes others of that name. All other bytes stay.
 *
 * @throws SidekeyError `policy_violation` if servers disagree whether the request has that cookie
 */
export function withCookie(fields: readonly string[], name: string, token: string): Written {
  const own = `${name}=${token}`;
  const kept: string[] = [];
  let isPlaced = false;
  let last = -1;
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const field = fields[i]!;
    let value = fields[i + 1]!;
    if (field.toLowerCase() === 'cookie') {
      const pairs: string[] = [];
      for (const pair of value.split(';')) {
        if (!isNamed(pair, name)) pairs.push(pair);
        else if (!isPlaced) {
          isPlaced = true;
          pairs.push(`${/^\s*/.exec(pair)![0]}${own}`);
        }
      }
      const joined = pairs.join(';');
      if (joined !== value) value = joined.trim();
      if (value === '') continue;
      last = kept.length + 1;
    }
    kept.push(field, value);
  }
  if (!isPlaced && last >= 0) {
    kept[last] = `${kept[last]!}; ${own}`;
    isPlaced = true;
  }
  return { fields: kept, isPlaced };
}

/** Removes the response fields that set a cookie of that name. */
export function withoutSetCookie(fields: readonly string[], name: string): readonly string[] {
  const wanted = forgivingName(name);
  const sets = (value: string) =>
    value.split(',').some((cookie) => nameOf(cookie.split(';', 1)[0]!) === wanted);
  return withoutFields(
    fields,
    (field, value) => (field === 'set-cookie' || field === 'set-cookie2') && sets(value),
  );
}

/**
 * Reports whether a pair has that name.
 *
 * Some servers end a cookie at a comma (RFC 2965 §3.3.4) or a blank (Python), and find a cookie in another's
 * value. For some a quoted value ends at the next quote, which may be in the next cookie: the credential
 * would become part of that value.
 */
function isNamed(pair: string, name: string): boolean {
  const wanted = forgivingName(name);
  if (opensQuote.test(pair)) {
    throw refused(
      'The request has a cookie with a quote that does not end in it, and some servers would read on into the next.',
      'leave that cookie out',
    );
  }
  const [first = '', ...more] = pair.trim().split(/[,\s]/);
  if (more.some((part) => nameOf(part) === wanted)) {
    const sentence = `The request has a cookie that some servers would read as ${name}, which Sidekey writes.`;
    throw refused(sentence, 'leave that cookie out');
  }
  return nameOf(first) === wanted;
}

function nameOf(pair: string): string {
  const [name = ''] = pair.replace(/^[\s=]+/, '').split('=', 1);
  return forgivingName(name.replaceAll('"', ''));
}
