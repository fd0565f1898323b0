import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { scopesFor } from '../../../src/grants/consent.ts';
import { readScopes } from '../../../src/grants/oauth/scopes.ts';
import type { Credential } from '../../../src/domain/credential.ts';
import { consentRemedy, missingConsent } from '../../../src/grants/messages.ts';
import type { Provider } from '../../../src/domain/provider.ts';
import { grantRecord } from '../../support/grant-record.ts';
import { aProvider } from '../../support/provider.ts';
import { oauth2 } from './processes.ts';
import { hintText } from '../../../src/lib/hint.ts';
import { hintOfText } from '../../support/hint.ts';

const consent = aProvider({ flows: ['authorization_code'] });

const pasted: Provider['token'] = {
  label: 'key',
  url: null,
  steps: [],
  parts: [],
  inject: { kind: 'inject' },
};

const grant = grantRecord({ name: 'work', provider: 'acme', scopes: ['read'] });

function missing(field: string, credential: Credential = oauth2(), provider: Provider | undefined = consent) {
  const values = (name: string) => (name === 'www-authenticate' ? [field] : []);
  return missingConsent(values, { grant, sealed: { credential, audience: [] } }, provider);
}

describe('the hint of a missing scope', () => {
  test('names the command that requests it in addition to the present scopes', () => {
    const found = missing('Bearer error="insufficient_scope", scope="read write admin"');
    expect(found).toEqual({
      scopes: ['write', 'admin'],
      reason: 'the grant lacks: write admin',
      hint: hintOfText("sidekey connect acme --name work --scope 'write admin'"),
    });
    expect(scopesFor(readScopes(['write admin']), consent, grant)).toEqual(['write', 'admin', 'read']);
  });

  test('reports that the scope is not named, or the page where the API describes itself', () => {
    expect(hintText(missing('Bearer error=insufficient_scope')!.hint)).toBe(
      'sidekey connect acme --name work (the API does not name the scope)',
    );
    expect(missing('Bearer error="invalid_token", resource_metadata="https://a.example/meta"')).toMatchObject(
      {
        scopes: null,
        hint: hintOfText('sidekey connect acme --name work (described at https://a.example/meta)'),
      },
    );
    expect(missing('Bearer error="invalid_token"')).toBeNull();
  });

  test.each<[label: string, credential: Credential, provider: Provider | undefined, command: string]>([
    [
      'pasted key',
      { type: 'api_key', value: 'the-key-itself' },
      aProvider({ flows: ['authorization_code'], token: pasted }),
      'sidekey connect acme --name work --token (the new one needs: write)',
    ],
    [
      'grant of an unknown provider',
      oauth2(),
      undefined,
      'sidekey grant import work --provider acme --replace < token.json (the new one needs: write)',
    ],
    [
      'grant by client credentials',
      oauth2({ refreshToken: null, renewal: { kind: 'client_credentials', scope: null, parameters: {} } }),
      consent,
      'sidekey connect acme --name work --client-credentials --scope write',
    ],
  ])('for a %s names the command that replaces its credential', (_what, credential, provider, command) => {
    const { type } = credential;
    expect(hintText(consentRemedy({ ...grant, type }, ['write'], provider, credential))).toBe(command);
  });

  test('quotes any scope as one word of a shell', () => {
    const scopes = ["';id;'", '$(id)', '`id`', '--widen', '&&', '>file', '#x', '*'];
    const command = hintText(consentRemedy(grant, scopes, consent, oauth2()));
    const words = execFileSync('/bin/sh', ['-c', `printf '%s\\n' ${command.replace('sidekey ', '')}`], {
      encoding: 'utf8',
    });
    expect(words).toBe(`connect\nacme\n--name\nwork\n--scope\n${scopes.join(' ')}\n`);
  });

  test.each<[credential: Credential, echoed: string]>([
    [oauth2({ accessToken: 'access-s3cret' }), 'access-s3cret'],
    [{ type: 'api_key', value: 'key-s3cret' }, 'key-s3cret'],
    [{ type: 'jwt', value: 'a.b.c-s3cret', expiresAt: null }, 'a.b.c-s3cret'],
    [{ type: 'basic', username: 'alice', password: 'word-s3cret' }, 'word-s3cret'],
    [
      { type: 'basic', username: 'alice', password: 'word-s3cret' },
      Buffer.from('alice:word-s3cret').toString('base64'),
    ],
    [{ type: 'headers', headers: [['X-Key', 'Token field-s3cret']] }, 'field-s3cret'],
  ])('contains no part of the credential that the upstream repeats (%j)', (credential, echoed) => {
    const found = missing(
      `Bearer error="insufficient_scope", scope="x${echoed}x write", resource_metadata="https://a.example/${echoed}"`,
      credential,
    );
    expect(found?.scopes).toEqual(['write']);
    expect(JSON.stringify(found)).not.toContain(echoed);
  });
});
