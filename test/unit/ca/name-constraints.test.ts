import { describe, expect, it } from 'vitest';
import {
  generalNameOf,
  nameConstraintsDer,
  parsePermittedNames,
  permits,
} from '../../../src/ca/certificate.ts';
import { bytesOf, itemsOf } from '../../../src/ca/asn1.ts';

function texts(entries: readonly string[]): string[] {
  return parsePermittedNames(entries).map((entry) => entry.text);
}

describe('permitted names', () => {
  it('are sorted, canonical and unique', () => {
    expect(texts(['B.test', '10.0.0.0/8', 'a.test', 'b.test.', 'FD00:0::/8', '[::1]', '192.0.2.1'])).toEqual([
      '10.0.0.0/8',
      '192.0.2.1/32',
      '::1/128',
      'a.test',
      'b.test',
      'fd00::/8',
    ]);
  });

  it.each([
    ['*.acme.test', 'is not a host name'],
    ['.acme.test', 'is not a host name'],
    ['', 'is not a host name'],
    ['a.test,b.test', 'is not a host name'],
    ['acme.test/24', 'has a path'],
    ['acme.test/', 'has a path'],
    ['10.0.0.0/33', 'has a prefix that is not between 0 and 32'],
    ['fd00::/129', 'has a prefix that is not between 0 and 128'],
    ['10.0.0.0/', 'has a prefix that is not between'],
    ['10.0.0.0/8/8', 'is not a host name'],
    ['10.1.2.3/24', 'is an address inside a block'],
  ])('refuse %j', (text, problem) => {
    expect(() => parsePermittedNames([text])).toThrowError(
      expect.objectContaining({ code: 'config_invalid', message: expect.stringContaining(problem) }),
    );
  });

  it.each([
    ['acme.test', true],
    ['api.acme.test', true],
    ['a.b.acme.test', true],
    ['notacme.test', false],
    ['acme.test.evil.test', false],
    ['test', false],
    ['10.1.2.0', true],
    ['10.1.2.255', true],
    ['10.1.3.0', false],
    ['[fdff::1]', true],
    ['[fe00::1]', false],
    ['[::ffff:a01:201]', false],
  ])('of acme.test, 10.1.2.0/24 and fd00::/8: %s is permitted: %s', (host, expected) => {
    const permitted = parsePermittedNames(['acme.test', '10.1.2.0/24', 'fd00::/8']);
    expect(permits(permitted, generalNameOf(host))).toBe(expected);
  });

  it('permit every name when the list is empty', () => {
    expect(permits([], generalNameOf('api.acme.test'))).toBe(true);
  });

  // RFC 5280 §4.2.1.10: a constraint applies only to names of its own kind. [2] is a DNS name, [7] an address
  // and its mask.
  it.each([
    [
      ['acme.test'],
      [
        [7, 8],
        [7, 32],
      ],
    ],
    [
      ['10.1.2.0/24'],
      [
        [2, 0],
        [7, 32],
      ],
    ],
    [
      ['fd00::/8'],
      [
        [2, 0],
        [7, 8],
      ],
    ],
    [['acme.test', '10.1.2.0/24', 'fd00::/8'], []],
  ])('%j exclude every name of the kinds that they do not contain', (texts, kinds) => {
    const [, excluded] = itemsOf(nameConstraintsDer(parsePermittedNames(texts)));
    const bases = itemsOf(excluded).map((subtree) => itemsOf(subtree)[0]);
    expect(bases.map((base) => [base?.type, bytesOf(base).length])).toEqual(kinds);
    for (const base of bases) expect(bytesOf(base).every((byte) => byte === 0)).toBe(true);
  });
});
