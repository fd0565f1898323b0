import { describe, expect, it } from 'vitest';
import type { Authority } from '../../src/proxy/policy/authority.ts';
import { decide, decideConnect } from '../../src/proxy/policy/decide.ts';
import {
  createDomainMap,
  type Domain,
  type DomainPattern,
  isPattern,
  matchesPattern,
  parsePattern,
} from '../../src/proxy/policy/domain-map.ts';
import * as fc from '../support/fast-check.ts';

/** Few labels and ports, so that entries meet and overlap. */
const labels = fc.array(fc.constantFrom('a', 'b', 'ab'), { minLength: 2, maxLength: 4 });
const port = fc.constantFrom(80, 443, 8443);
const scheme = fc.constantFrom('https' as const, 'http' as const);
const authority: fc.Arbitrary<Authority> = fc.record({
  scheme,
  host: labels.map((it) => it.join('.')),
  port,
});

interface Entry {
  readonly wildcard: boolean;
  readonly labels: readonly string[];
  readonly port: number | null;
}
const entry: fc.Arbitrary<Entry> = fc.record({ wildcard: fc.boolean(), labels, port: fc.option(port) });
const textOf = ({ wildcard, labels, port }: Entry) =>
  `${wildcard ? '*.' : ''}${labels.join('.')}${port === null ? '' : `:${port}`}`;
const entries = fc.uniqueArray(entry, { selector: textOf, maxLength: 12 });

/** The definition, in words of its own: labels from the right, whole; the port as written or the scheme's. */
function covers(it: Entry, { scheme, host, port }: Authority): boolean {
  const asked = host.split('.').toReversed();
  const written = it.labels.toReversed();
  const same = written.every((label, i) => asked[i] === label);
  const depth = it.wildcard ? asked.length > written.length : asked.length === written.length;
  const wanted = it.port === null ? { https: 443, http: 80 }[scheme] : it.port;
  return same && depth && port === wanted;
}

function compareSpecific(a: Entry, b: Entry): number {
  return (
    Number(a.wildcard) - Number(b.wildcard) ||
    b.labels.length - a.labels.length ||
    Number(a.port === null) - Number(b.port === null)
  );
}

function patternOf(it: Entry): DomainPattern {
  const pattern = parsePattern(textOf(it));
  if (!isPattern(pattern)) throw new Error(pattern.problem);
  return pattern;
}

const domainOf = (it: Entry, action: Domain['action']): Domain => ({
  pattern: patternOf(it),
  action,
  origin: textOf(it),
});
const mapOf = (list: readonly Entry[]) => createDomainMap(list.map((it) => domainOf(it, { kind: 'tunnel' })));

describe('a pattern', () => {
  it('matches exactly the authorities of its definition', () => {
    fc.assert(
      fc.property(entry, authority, (it, asked) => {
        expect(matchesPattern(patternOf(it), asked)).toBe(covers(it, asked));
      }),
      { numRuns: 2_000 },
    );
  });

  it('with a wildcard matches only whole labels', () => {
    const name = fc.domain();
    const prefix = fc.stringMatching(/^[a-z0-9-]{1,10}$/);
    fc.assert(
      fc.property(name, prefix, name, (suffix, glued, other) => {
        const wildcard = parsePattern(`*.${suffix}`);
        fc.pre(isPattern(wildcard));
        const ask = (host: string) => matchesPattern(wildcard, { scheme: 'https', host, port: 443 });
        expect(ask(wildcard.host)).toBe(false);
        expect(ask(`${glued}${wildcard.host}`)).toBe(false);
        expect(ask(`${wildcard.host}.${other}`)).toBe(
          `${wildcard.host}.${other}`.endsWith(`.${wildcard.host}`),
        );
        expect(ask(`${glued}.${wildcard.host}`)).toBe(true);
      }),
    );
  });

  it('is parsed from any text without an exception, and its text parses to an equal pattern', () => {
    const piece = fc.constantFrom(
      '*',
      '.',
      'a',
      'B',
      ':',
      '443',
      '[',
      ']',
      '::1',
      '/',
      '@',
      '\0',
      '-',
      '1',
      '0',
    );
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: piece })), (text) => {
        const parsed = parsePattern(text);
        if (isPattern(parsed)) expect(parsePattern(parsed.text)).toEqual(parsed);
        else expect(parsed.problem).not.toBe('');
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('the domain map', () => {
  it('selects the most specific entry that covers the authority', () => {
    fc.assert(
      fc.property(entries, authority, (list, asked) => {
        const [best] = list.filter((it) => covers(it, asked)).toSorted(compareSpecific);
        expect(mapOf(list).match(asked)?.origin ?? null).toBe(best === undefined ? null : textOf(best));
      }),
      { numRuns: 5_000 },
    );
  });

  it('does not depend on the order of its entries', () => {
    fc.assert(
      fc.property(entries, authority, (list, asked) => {
        expect(mapOf(list.toReversed()).match(asked)?.origin).toBe(mapOf(list).match(asked)?.origin);
      }),
    );
  });
});

describe('a decision', () => {
  const action: fc.Arbitrary<Domain['action']> = fc.oneof(
    fc.constant({ kind: 'tunnel' } as const),
    fc.constant({ kind: 'deny' } as const),
    fc.boolean().map((allowPlainHttp) => ({ kind: 'grant', grant: 'acme', allowPlainHttp }) as const),
  );
  const domains = entries.chain((list) =>
    fc.tuple(...list.map((it) => action.map((does) => domainOf(it, does)))),
  );
  const policy = fc
    .record({ domains, unmatched: fc.constantFrom('deny' as const, 'tunnel' as const) })
    .map((it) => ({ ...it, domains: createDomainMap(it.domains) }));

  it('never allows a credential over http unless the entry has allow_plain_http', () => {
    fc.assert(
      fc.property(policy, authority, (it, asked) => {
        const decision = decide(it, asked);
        if (decision.outcome === 'inject')
          expect(asked.scheme === 'https' || decision.allowPlainHttp).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it('opens a blind tunnel at CONNECT only if neither scheme has a more specific refusal or grant', () => {
    fc.assert(
      fc.property(policy, authority, (it, { host, port }) => {
        const decision = decideConnect(it, { scheme: 'https', host, port });
        if (decision.outcome !== 'tunnel') return;
        const own = port === 80 ? 'http' : 'https';
        expect(decide(it, { scheme: own, host, port }).outcome).toBe('tunnel');
      }),
      { numRuns: 5_000 },
    );
  });
});
