import { expect, test } from 'vitest';
import { jsonObject, jwtPart, memberAt } from '../../../../src/grants/oauth/http.ts';

test.each(['[]', 'null', '"a"', '7', '', '{', 'a=b'])('%s is refused as an object', (text) => {
  expect(jsonObject(text)).toBeNull();
});

test.each(['', 'opaque', '.', 'W10.W10.sig', 'bm90IGpzb24.bm90IGpzb24.c2ln', '%.%.%', '\u2028.\ud800.'])(
  'the token %j has no header and no claims, without an error',
  (token) => {
    expect([jwtPart(token, 0), jwtPart(token, 1)]).toEqual([null, null]);
  },
);

test('the header and the claims of a JWT are its first and its second part', () => {
  const parts = [{ alg: 'none' }, { sub: 'é' }].map((part) => Buffer.from(JSON.stringify(part)));
  const token = `${parts.map((part) => part.toString('base64url')).join('.')}.`;
  expect([jwtPart(token, 0), jwtPart(token, 1)]).toEqual([{ alg: 'none' }, { sub: 'é' }]);
});

test('a path follows no inherited members of objects', () => {
  const object =
    jsonObject('{"a": {"b": {"c": 1}}, "list": [1], "text": "abc", "__proto__": {"d": 2}}') ?? {};
  expect(memberAt(object, 'a.b.c')).toBe(1);
  expect(memberAt(object, 'a.b')).toEqual({ c: 1 });
  expect(memberAt(object, '__proto__.d')).toBe(2);
  for (const path of ['a.c', 'a.b.c.d', 'list.0', 'text.length', 'd', 'toString', 'a.constructor']) {
    expect(memberAt(object, path), path).toBeUndefined();
  }
});
