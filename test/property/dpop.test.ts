import * as fc from '../support/fast-check.ts';
import { describe, expect, test } from 'vitest';
import { targetUri } from '../../src/proxy/schemes/dpop-proof.ts';

const origin = 'https://api.acme.test:8443';
/** Characters that a request line may contain and others, one byte each. */
const path = fc
  .string({ unit: fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code)) })
  .map((rest) => `/${rest}`);

describe('the target URI of a proof', () => {
  test('has no query and no fragment, and is visible ASCII', () => {
    fc.assert(
      fc.property(path, (target) => {
        const uri = targetUri(origin, target);
        expect(uri.startsWith(`${origin}/`)).toBe(true);
        expect(uri.slice(origin.length)).toMatch(/^\/[\x21\x22\x24-\x3e\x40-\x7e]*$/);
      }),
    );
  });

  test('does not depend on query and fragment, and is unchanged when computed again from its path', () => {
    fc.assert(
      fc.property(path, fc.constantFrom('?', '#'), path, (target, mark, rest) => {
        const uri = targetUri(origin, target);
        expect(targetUri(origin, `${target}${mark}${rest}`)).toBe(uri);
        expect(targetUri(origin, uri.slice(origin.length))).toBe(uri);
      }),
    );
  });

  test('equals the request URI after a server normalizes both', () => {
    fc.assert(
      fc.property(path, (target) => {
        // Two slashes at the beginning would be a host to who resolves a reference; so would no server read a
        // target.
        const came = new URL(`${origin}${latin1Escaped(target)}`);
        [came.search, came.hash] = ['', ''];
        expect(new URL(targetUri(origin, target)).href).toBe(came.href);
      }),
    );
  });

  test('differs for paths that differ in a letter, an escape or a slash', () => {
    const paths = ['/a', '/A', '/a/', '/%61', '/a%2f', '//a', '/b/../a', '/'];
    expect(new Set(paths.map((each) => targetUri(origin, each))).size).toBe(paths.length);
  });
});

/** Bytes, not letters: a server decodes none of them before it compares. */
function latin1Escaped(target: string): string {
  return target.replace(/[^\x21-\x7e]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
}
