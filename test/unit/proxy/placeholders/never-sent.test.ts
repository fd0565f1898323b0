import { expect, test } from 'vitest';
import type { Credential } from '../../../../src/domain/credential.ts';
import { substitutePlaceholders } from '../../../../src/proxy/placeholders/substitute.ts';

const keys: Credential = {
  type: 'aws',
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  sessionToken: null,
  region: null,
};
const placement = { kind: 'aws_sigv4', service: null, region: null } as const;

test('a placeholder in a body is refused if its credential is never sent', () => {
  const detected = {
    texts: () => ['PLACEHOLDER'],
    places: ['body'] as const,
    codes: { find: () => [] },
    inContent: true,
    body: { syntax: 'json', whole: Buffer.from('{"key":"PLACEHOLDER"}') } as const,
  };
  const request = { path: '/', fields: ['Host', 'api.example.com'] };

  expect(() => substitutePlaceholders(request, detected, keys, placement)).toThrow(
    expect.objectContaining({ code: 'placeholder_misused' }),
  );
});
