import { expect, test } from 'vitest';
import { type Credential, keysText } from '../../../../src/domain/credential.ts';
import { hasValue, valueOf } from '../../../../src/proxy/placeholders/substitute.ts';
import { oauth2Credential } from '../../../support/oauth2-credential.ts';

const keys = { accessKeyId: 'AKIAEXAMPLE012345678', secretAccessKey: 'secret', sessionToken: null };
const role: Credential = oauth2Credential({
  accessToken: keysText({ ...keys, sessionToken: 'session-token' }),
  obtainedAt: 0,
  renewal: {
    kind: 'aws_role',
    keys,
    roleArn: 'arn:aws:iam::123456789012:role/r',
    sessionName: 's',
    externalId: null,
    durationSeconds: null,
    region: null,
  },
});

test.each<[string, Credential]>([
  ['several header fields', { type: 'headers', headers: [['X-A', 'a']] }],
  ['the keys of an AWS user', { type: 'aws', ...keys, region: null }],
  ['the keys of an AWS role', role],
])('a credential of several values replaces no placeholder: %s', (_what, credential) => {
  expect(hasValue(credential)).toBe(false);
  expect(() => valueOf(credential)).toThrow('no single value');
});

test('the placeholder of a user name and password stands for the password', () => {
  expect(valueOf({ type: 'basic', username: 'me', password: 'secret' })).toBe('secret');
});
