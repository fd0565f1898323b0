import { describe, expect, it } from 'vitest';
import type { InterceptedTunnel } from '../../src/proxy/http/message.ts';
import { SidekeyError } from '../../src/lib/errors.ts';
import {
  type Authority,
  authorityText,
  canonicalHost,
  sameAuthority,
} from '../../src/proxy/policy/authority.ts';
import { targetOf } from '../../src/proxy/target.ts';
import * as fc from '../support/fast-check.ts';

const host = fc
  .oneof(
    fc.domain(),
    fc.ipV4(),
    fc.ipV6().map((text) => `[${text}]`),
  )
  .map(canonicalHost)
  .filter((text) => text !== null);
const authority: fc.Arbitrary<Authority> = fc.record({
  scheme: fc.constantFrom('https' as const, 'http' as const),
  host,
  port: fc.oneof(fc.constantFrom(80, 443), fc.integer({ min: 1, max: 65_535 })),
});
const path = fc
  .string({ unit: fc.constantFrom('a', '/', '.', '%2e', '%00', ';', '?', '=', '\\', '|') })
  .map((it) => `/${it}`);

const tunnelTo = (value: Authority, serverName: string | null = null): InterceptedTunnel => ({
  authority: value,
  serverName,
  presented: { kind: 'nothing' },
});
const ask = (target: string, hosts: readonly string[], tunnel: InterceptedTunnel | null) =>
  targetOf({ method: 'GET', target, version: '1.1', fields: hosts.flatMap((it) => ['Host', it]) }, tunnel);

/** Other ways to write the same authority. */
const spelling = fc.record({ upper: fc.boolean(), dot: fc.boolean(), port: fc.boolean() });
function spell(
  { host, port, scheme }: Authority,
  how: { upper: boolean; dot: boolean; port: boolean },
): string {
  const dotted = how.dot && !host.startsWith('[') ? `${host}.` : host;
  const cased = how.upper ? dotted.toUpperCase() : dotted;
  return how.port || authorityText({ scheme, host, port }) !== host ? `${cased}:${port}` : cased;
}

describe('the target of a request', () => {
  it('inside a tunnel is the authority of the tunnel, for every spelling of Host, and the unchanged path', () => {
    fc.assert(
      fc.property(authority, spelling, path, (value, how, raw) => {
        expect(ask(raw, [spell(value, how)], tunnelTo(value))).toEqual({ authority: value, path: raw });
      }),
    );
  });

  it('is the same in absolute form', () => {
    fc.assert(
      fc.property(authority, spelling, spelling, path, (value, how, other, raw) => {
        const target = `${value.scheme}://${spell(value, how)}${raw}`;
        for (const tunnel of [null, tunnelTo(value)])
          expect(ask(target, [spell(value, other)], tunnel)).toEqual({ authority: value, path: raw });
      }),
    );
  });

  it('is refused if Host, the target or the server name has another authority', () => {
    fc.assert(
      fc.property(authority, authority, path, (value, other, raw) => {
        fc.pre(!sameAuthority(value, { ...other, scheme: value.scheme }));
        const text = authorityText({ ...other, scheme: value.scheme });
        const own = authorityText(value);
        const mismatch = { code: 'authority_mismatch' };
        expect(ask(raw, [text], tunnelTo(value))).toMatchObject(mismatch);
        expect(ask(`${value.scheme}://${own}${raw}`, [text], null)).toMatchObject(mismatch);
        expect(ask(`${value.scheme}://${text}${raw}`, [own], tunnelTo(value))).toMatchObject(mismatch);
        if (other.host !== value.host)
          expect(ask(raw, [own], tunnelTo(value, other.host))).toMatchObject(mismatch);
      }),
    );
  });

  it('is parsed or refused for any input, and never has an authority outside the tunnel', () => {
    const anyText = fc.oneof(fc.string({ unit: 'binary' }), path, authority.map(authorityText));
    fc.assert(
      fc.property(
        anyText,
        fc.array(anyText, { maxLength: 2 }),
        fc.option(anyText),
        authority,
        (target, hosts, serverName, value) => {
          const found = ask(target, hosts, tunnelTo(value, serverName));
          if (found instanceof SidekeyError)
            expect(['bad_request', 'authority_mismatch']).toContain(found.code);
          else expect(found.authority).toEqual(value);
          expect(ask(target, hosts, null)).toBeDefined();
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('is refused if its path cannot be part of a request line', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }).map((it) => `/${it}`),
        authority,
        (raw, value) => {
          const found = ask(raw, [authorityText(value)], tunnelTo(value));
          const plain = raw.split('').every((char) => char > ' ' && char < '\x7f' && char !== '#');
          expect(found instanceof SidekeyError).toBe(!plain);
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
