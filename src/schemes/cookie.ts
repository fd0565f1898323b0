import { forgivingName } from './parameters.ts';
import { type Carrier, refused } from './scheme.ts';

/** RFC 6265 §4.1.1, `cookie-value`. */
const cookieValue =
  /^(?:[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+|"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+")$/;

/** A pair whose value begins with a quote, and does not end with the one that ends it. */
const opensQuote = /^[^="]*=\s*"(?!(?:[^"\\]|\\.)*"\s*$)/s;

/**
 * A token that is a cookie. One that the service sets anew goes no further than here: it is as good as the token.
 *
 * @throws SidekeyError `policy_violation`: the token cannot stand in a cookie
 */
export function inCookie(name: string, token: string): Carrier {
  if (!cookieValue.test(token)) {
    throw refused(
      'The stored credential holds a byte that must not stand in a cookie.',
      'add the grant again with --replace, with the value of the cookie alone',
    );
  }
  return {
    fields: [],
    into: ({ fields }) => {
      const written = withCookie(fields, name, token);
      return written.isPlaced
        ? { fields: written.fields, conceal: (answered) => withoutSetCookie(answered, name) }
        : { added: ['Cookie', `${name}=${token}`], conceal: (answered) => withoutSetCookie(answered, name) };
    },
  };
}

interface Written {
  readonly fields: readonly string[];
  /** Whether the cookie is in them; else there is no field that it could stand in. */
  readonly isPlaced: boolean;
}

/**
 * Fields with that cookie: in the place of the first of that name, else behind all in the last `Cookie` field (RFC 6265
 * §5.4; HTTP/2 may have several, RFC 9113 §8.2.3). Others of that name go. The rest stays byte by byte.
 *
 * @throws SidekeyError `policy_violation`: whether it has that cookie is a matter of how it is read
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

/** Response fields that do not set a cookie of that name. */
export function withoutSetCookie(fields: readonly string[], name: string): readonly string[] {
  const wanted = forgivingName(name);
  const sets = (value: string) =>
    value.split(',').some((cookie) => nameOf(cookie.split(';', 1)[0]!) === wanted);
  return fields.filter((_, index) => {
    const at = index - (index % 2);
    const field = fields[at]!.toLowerCase();
    return (field !== 'set-cookie' && field !== 'set-cookie2') || !sets(fields[at + 1]!);
  });
}

/**
 * Some read a comma (RFC 2965 §3.3.4) or a blank (Python) as the end of a cookie, and would find one where others see a
 * part of a value. To some a quote holds all up to the next: the credential, written behind it, would be in that cookie.
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
    throw refused(
      `The request has a cookie that some servers would read as ${name}, which Sidekey writes.`,
      'leave that cookie out',
    );
  }
  return nameOf(first) === wanted;
}

function nameOf(pair: string): string {
  const [name = ''] = pair.replace(/^[\s=]+/, '').split('=', 1);
  return forgivingName(name.replaceAll('"', ''));
}
