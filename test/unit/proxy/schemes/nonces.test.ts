import { describe, expect, test } from 'vitest';
import { createNonces, nonceIn } from '../../../../src/proxy/schemes/dpop-proof.ts';

describe('a nonce', () => {
  test.each(['n', 'eyJ7S_zG.eyJH0-Z.HX4w-7v', '!#$%&()*+,-./:;<=>?@[]^_`{|}~', 'a'.repeat(1_024)])(
    'is accepted unchanged: %s',
    (value) => {
      expect(nonceIn([value])).toBe(value);
    },
  );

  test.each([
    ['no field has one', []],
    ['there are two fields', ['a', 'a']],
    ['it is empty', ['']],
    ['there are two in one field', ['a, b']],
    ['it is too long', ['a'.repeat(1_025)]],
    ['it has a quote', ['a"b']],
    ['it has a backslash', ['a\\b']],
    ['it has a control character', ['a\u0000b']],
    ['it has a line end', ['a\r\nSet-Cookie: b']],
    ['it is not ASCII', ['ä']],
    ['it has a DEL character', ['a\u007f']],
  ])('is refused when %s', (_what, values) => {
    expect(nonceIn(values)).toBeNull();
  });
});

describe('the nonces of servers', () => {
  test('contain the last nonce of each server', () => {
    const nonces = createNonces();
    expect(nonces.of('https://a.test')).toBeNull();
    nonces.remember('https://a.test', 'one');
    nonces.remember('https://b.test', 'of b');
    nonces.remember('https://a.test', 'two');
    expect(nonces.of('https://a.test')).toBe('two');
    expect(nonces.of('https://b.test')).toBe('of b');
    expect(nonces.of('https://a.test:8443')).toBeNull();
  });

  test('are bounded: the least recently heard server is removed', () => {
    const nonces = createNonces(2);
    for (const origin of ['a', 'b', 'a', 'c']) nonces.remember(origin, 'n');
    expect(['a', 'b', 'c'].map((origin) => nonces.of(origin))).toEqual(['n', null, 'n']);
  });
});
