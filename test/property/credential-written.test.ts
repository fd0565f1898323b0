/**
 * A credential that is written into a cookie field, a JSON object or a form: it is there once, and all else
 * is as it was.
 */
import { describe, expect, test } from 'vitest';
import { fold } from '../../src/proxy/policy/text.ts';
import { withMember, withParameter } from '../../src/proxy/schemes/body.ts';
import { withCookie, withoutSetCookie } from '../../src/proxy/schemes/cookie.ts';
import * as fc from '../support/fast-check.ts';

const name = 'token';
const secret = fc.string({ unit: 'grapheme-ascii', minLength: 1 });

describe('a JSON object', () => {
  const blank = fc.stringMatching(/^[ \t\r\n]{0,2}$/);
  const spelling = fc.constantFrom('"token"', '"tok\\u0065n"', '"TOKEN"', '"\\u0054oken"');
  const value = fc.json({ maxDepth: 2 }).filter((text) => JSON.parse(text) !== undefined);
  const otherKey = fc
    .string({ unit: 'grapheme' })
    .filter((key) => fold(key) !== name && key !== '__proto__')
    .map((key) => ({ key, isOurs: false, written: JSON.stringify(key) }));
  const ourKey = spelling.map((written) => ({ key: name, isOurs: true, written }));
  const member = fc.record({
    of: fc.oneof({ weight: 3, arbitrary: otherKey }, { weight: 2, arbitrary: ourKey }),
    blanks: fc.tuple(blank, blank, blank, blank),
    value,
  });
  type Member = typeof member extends fc.Arbitrary<infer T> ? T : never;
  const object = fc.uniqueArray(member, {
    selector: ({ of }) => (of.isOurs ? Symbol(name) : of.key),
    comparator: 'SameValueZero',
    maxLength: 6,
  });
  const textOf = (members: readonly Member[]) =>
    `{${members.map(({ of, blanks: [a, b, c, d], value: it }) => `${a}${of.written}${b}:${c}${it}${d}`).join(',')}}`;

  /** The expected text, assembled from its parts instead of parsed. */
  function expected(members: readonly Member[], token: string): string {
    const first = members.findIndex(({ of }) => of.isOurs);
    const own = JSON.stringify(token);
    if (first < 0) {
      return textOf(members).replace('{', () => `{"token":${own}${members.length === 0 ? '' : ','}`);
    }
    let text = '{';
    let behind = '';
    for (const [index, { of, blanks, value: it }] of members.entries()) {
      const [a, b, c, d] = blanks;
      if (index === first) text += `${behind}${index > 0 ? ',' : ''}${a}"token"${b}:${c}${own}`;
      else if (!of.isOurs) text += `${behind}${index > 0 ? ',' : ''}${a}${of.written}${b}:${c}${it}`;
      behind = d;
    }
    return `${text}${behind}}`;
  }

  test('has the credential once, in place of the first member of that name, and all other bytes unchanged', () => {
    fc.assert(
      fc.property(object, secret, (members, token) => {
        const rewritten = withMember(textOf(members), [name], token);
        // A value may have a key twice, which two parsers read differently.
        if ('problem' in rewritten) expect(rewritten.problem).toBe('has a key twice');
        else {
          expect(rewritten.text).toBe(expected(members, token));
          const others = members.filter(({ of }) => !of.isOurs);
          const parsed = Object.fromEntries(
            others.map(({ of, value: it }) => [of.key, JSON.parse(it) as unknown]),
          );
          expect(JSON.parse(rewritten.text)).toEqual({ ...parsed, token });
        }
      }),
      { numRuns: 500 },
    );
  });

  test('inside another object is the only part that changes', () => {
    const without = fc
      .jsonValue({ maxDepth: 3 })
      .filter(
        (it): it is Record<string, never> => typeof it === 'object' && it !== null && !Array.isArray(it),
      )
      .filter((it) => Object.keys(it).every((key) => fold(key) !== 'auth' && key !== '__proto__'));
    fc.assert(
      fc.property(
        without,
        fc.dictionary(fc.constantFrom('a', 'token', 'Token'), fc.string()),
        secret,
        (outer, auth, token) => {
          const rewritten = withMember(JSON.stringify({ ...outer, auth }), ['auth', name], token);
          const { Token: _, ...kept } = auth;
          if ('problem' in rewritten) throw new Error(rewritten.problem);
          expect(JSON.parse(rewritten.text)).toEqual(
            JSON.parse(JSON.stringify({ ...outer, auth: { ...kept, token } })),
          );
          const fresh = withMember(JSON.stringify(outer), ['auth', name], token);
          if ('problem' in fresh) throw new Error(fresh.problem);
          expect(JSON.parse(fresh.text)).toEqual(JSON.parse(JSON.stringify({ ...outer, auth: { token } })));
        },
      ),
    );
  });

  test('or any other text is rewritten to valid JSON with the credential, or refused', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json()), secret, (text, token) => {
        const rewritten = withMember(text, [name], token);
        if ('text' in rewritten) expect(JSON.parse(rewritten.text)).toMatchObject({ token });
      }),
    );
  });
});

describe('a form', () => {
  const written = fc.stringMatching(/^[A-Za-z0-9%._~+-]{0,6}$/);
  const other = fc
    .tuple(written, written)
    .map(([key, value]) => `x${key}=${value}`)
    .filter((pair) => !new URLSearchParams(pair).has(name));
  const ours = fc
    .tuple(
      fc.constantFrom('token', 'tok%65n', '%74oken', 'TOKEN', 'token%5B%5D', 'token[a]', '+token'),
      written,
    )
    .map((pair) => pair.join('='));
  const pairs = fc.array(
    fc.oneof(
      other.map((text) => ({ text, isOurs: false })),
      ours.map((text) => ({ text, isOurs: true })),
      fc.constant({ text: '', isOurs: false }),
    ),
    { maxLength: 8 },
  );

  test('has the credential once, in place of the first parameter of that name, and all other bytes unchanged', () => {
    fc.assert(
      fc.property(pairs, secret, (parameters, token) => {
        const before = parameters.map(({ text }) => text).join('&');
        fc.pre(before !== '');
        const rewritten = withParameter(before, name, token);
        if ('problem' in rewritten) throw new Error(rewritten.problem);
        const own = `token=${encodeURIComponent(token)}`;
        const first = parameters.findIndex(({ isOurs }) => isOurs);
        const kept = parameters.flatMap(({ text, isOurs }, index) =>
          index === first ? [own] : isOurs ? [] : [text],
        );
        expect(rewritten.text).toBe((first < 0 ? [...kept, own] : kept).join('&'));
        expect(new URLSearchParams(rewritten.text).getAll(name)).toEqual([token]);
      }),
      { numRuns: 500 },
    );
  });
});

describe('cookies', () => {
  const octets = fc.stringMatching(/^[!#-+\--:<-[\]-~]{0,6}$/);
  const other = fc.tuple(fc.stringMatching(/^x[a-z0-9-]{0,4}$/), octets).map((pair) => pair.join('='));
  const ours = fc
    .tuple(fc.constantFrom('token', 'tok%65n', 'Token', ' token', '"token"'), octets)
    .map((pair) => pair.join('='));
  const field = fc.array(
    fc.oneof(
      other.map((text) => ({ text, isOurs: false })),
      ours.map((text) => ({ text, isOurs: true })),
    ),
    { minLength: 1, maxLength: 5 },
  );
  const cookieSecret = fc.stringMatching(/^[!#-+\--:<-[\]-~]{1,12}$/);

  test('have the credential once, and all other cookies unchanged', () => {
    fc.assert(
      fc.property(fc.array(field, { maxLength: 3 }), cookieSecret, (fields, token) => {
        const lines = fields.flatMap((pairs) => ['Cookie', pairs.map(({ text }) => text.trim()).join('; ')]);
        const { fields: after, isPlaced } = withCookie(['Accept', '*/*', ...lines], name, token);
        expect(isPlaced).toBe(fields.length > 0);
        const all = after.flatMap((text, i) =>
          i % 2 === 1 && after[i - 1] === 'Cookie' ? text.split('; ') : [],
        );
        const others = fields.flat().flatMap(({ text, isOurs }) => (isOurs ? [] : [text]));
        expect(all.filter((pair) => pair !== `token=${token}`)).toEqual(others);
        expect(all.filter((pair) => pair === `token=${token}`)).toHaveLength(isPlaced ? 1 : 0);
        const first = fields.flat().findIndex(({ isOurs }) => isOurs);
        if (first >= 0) expect(all.indexOf(`token=${token}`)).toBe(first);
        expect(after.slice(0, 2)).toEqual(['Accept', '*/*']);
      }),
      { numRuns: 500 },
    );
  });

  test('that a response sets are forwarded, except the one for the credential', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(other, ours)), (set) => {
        const fields = set.flatMap((pair) => [
          'Set-Cookie',
          `${pair}; Path=/; Expires=Wed, 09 Jun 2027 10:18:14 GMT`,
        ]);
        const kept = withoutSetCookie(fields, name).filter((_, index) => index % 2 === 1);
        expect(kept.map((value) => value.split(';')[0])).toEqual(set.filter((pair) => pair.startsWith('x')));
      }),
    );
  });
});
