import { expect, test } from 'vitest';
import { jsonObject, memberAt } from '../../../../src/grants/oauth/http.ts';

test.each(['[]', 'null', '"a"', '7', '', '{', 'a=b'])('%s is refused as an object', (text) => {
  expect(jsonObject(text)).toBeNull();
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
