import { describe, expect, test } from 'vitest';
import { planDomains } from '../../../../src/operations/connect/domains.ts';
import { aProvider } from '../../../support/provider.ts';

const provider = aProvider({
  audience: ['api.acme.test', '*.files.acme.test'],
  domains: ['api.acme.test'],
});

describe('the audience of a connected grant', () => {
  test('is the audience of the provider', () => {
    expect(planDomains({}, provider, null)).toEqual({
      audience: provider.audience,
      widened: [],
      grown: [],
      kept: [],
      entries: ['api.acme.test'],
      named: false,
    });
  });

  test('keeps hosts that were added before', () => {
    const before = ['api.acme.test', '*.files.acme.test', 'other.test'];
    expect(planDomains({}, provider, before)).toMatchObject({
      audience: before,
      widened: [],
      grown: [],
      kept: ['other.test'],
    });
    expect(planDomains({ allowedDomains: ['other.test'] }, provider, before)).toMatchObject({
      widened: [],
      kept: [],
    });
  });

  test('is extended to the audience of the provider, and the added hosts are reported', () => {
    expect(planDomains({}, provider, ['api.acme.test'])).toMatchObject({
      audience: provider.audience,
      grown: ['*.files.acme.test'],
    });
  });
});

describe('hosts of --allowed-domains', () => {
  test('are normalized, without duplicates', () => {
    const allowedDomains = ['API.acme.test.', 'api.acme.test,eu.files.acme.test'];
    expect(planDomains({ allowedDomains }, provider, null)).toMatchObject({
      entries: ['api.acme.test', 'eu.files.acme.test'],
      audience: provider.audience,
      named: true,
    });
  });

  test.each(['acme.test', 'api.acme.test:8443', 'files.acme.test', '*.acme.test', 'xapi.acme.test'])(
    '%s outside the audience is refused without --widen',
    (host) => {
      expect(() => planDomains({ allowedDomains: [host] }, provider, null)).toThrow(
        expect.objectContaining({ code: 'input_invalid', hint: expect.stringContaining('--widen') }),
      );
      expect(planDomains({ allowedDomains: [host], widen: true }, provider, null)).toMatchObject({
        audience: [...provider.audience, host],
        widened: [host],
      });
    },
  );

  test.each([
    [{ allowedDomains: ['https://api.acme.test/'] }, 'is a URL'],
    [{ allowedDomains: ['api.acme.test'], domains: false }, 'do not go together'],
    [{ widen: true }, '--widen needs'],
  ])('%j is refused', (options, message) => {
    expect(() => planDomains(options, provider, null)).toThrow(message);
  });
});
