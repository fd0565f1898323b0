import * as fc from '../support/fast-check.ts';
import { describe, expect, it } from 'vitest';
import { plainDialect } from '../../src/config/provider-dialect.ts';
import { missingConsent } from '../../src/grants/messages.ts';
import { challengesIn } from '../../src/proxy/http/fields.ts';
import { isScope } from '../../src/grants/oauth/scopes.ts';
import { grantRecord } from '../support/grant-record.ts';
import { aProvider } from '../support/provider.ts';
import { oauth2 } from '../unit/grants/processes.ts';
import { hintText } from '../../src/lib/hint.ts';

const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}$/);
const text = fc.string({
  unit: fc.constantFrom('a', 'b', '"', ',', '\\', '=', ' ', '\t', ';', '\u00e9'),
  maxLength: 12,
});
const challenge = fc.record({
  scheme: token,
  parameters: fc.uniqueArray(fc.tuple(token, text), {
    maxLength: 4,
    selector: ([name]) => name.toLowerCase(),
  }),
});
const blank = fc.constantFrom('', ' ', '\t ');
const quote = (value: string) => `"${value.replace(/["\\]/g, (character) => `\\${character}`)}"`;

/** Anything that a field may hold, and what no codec lets through. */
const field = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc
    .array(
      fc.constantFrom(
        'Bearer ',
        'error=',
        '"insufficient_scope"',
        'insufficient_scope',
        ', ',
        'scope="',
        '"',
        'a',
        'read:org',
        ' ',
        "';$(id)`",
        '\r\n',
        '\u001b[31m',
        'resource_metadata="https://a.example/',
        '\\',
        '=',
        '\u00ff',
        '🦊',
      ),
      { maxLength: 20 },
    )
    .map((pieces) => `Bearer error=insufficient_scope, scope="${pieces.join('')}`),
);

describe('challenges', () => {
  it('are parsed to the schemes and parameters that they were written from', () => {
    fc.assert(
      fc.property(fc.array(challenge, { maxLength: 4 }), blank, (challenges, around) => {
        const written = challenges
          .map(({ scheme, parameters }) =>
            parameters.length === 0
              ? scheme
              : `${scheme} ${parameters.map(([name, value]) => `${name}${around}=${around}${quote(value)}`).join(`${around},${around}`)}`,
          )
          .join(`${around}, `);
        expect(challengesIn(written).map(({ scheme, parameters }) => [scheme, [...parameters]])).toEqual(
          challenges.map(({ scheme, parameters }) => [
            scheme.toLowerCase(),
            parameters.map(([name, value]) => [name.toLowerCase(), value]),
          ]),
        );
      }),
    );
  });

  it('of any content result in a hint in one line of visible ASCII of bounded length, with only scope names', () => {
    const grant = grantRecord({ scopes: ['held'] });
    const provider = aProvider({ flows: ['authorization_code'], dialect: plainDialect });
    fc.assert(
      fc.property(fc.array(field, { maxLength: 4 }), (fields) => {
        const missing = missingConsent(
          (name) => (name === 'www-authenticate' ? fields : []),
          { grant, sealed: { credential: oauth2(), audience: [] } },
          provider,
        );
        if (missing === null) return;
        expect(hintText(missing.hint)).toMatch(/^sidekey connect [\x20-\x7e]{1,4000}$/);
        expect(missing.reason).toMatch(
          /^the grant lacks [\x21-\x7e ]{1,1200}$|^the grant lacks: [\x21-\x7e ]{1,1200}$/,
        );
        expect(missing.scopes?.every(isScope) ?? true).toBe(true);
        expect(missing.scopes?.length ?? 0).toBeLessThanOrEqual(20);
      }),
      { numRuns: 500 },
    );
  });
});
