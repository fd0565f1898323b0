import { describe, expect, it } from 'vitest';
import { openCatalog } from '../../../../src/config/catalog.ts';
import { createPlaceholderCodes, jwtForm, plainForm } from '../../../../src/proxy/placeholders/codes.ts';
import {
  foreignInBody,
  foreignInFields,
  foreignInQuery,
} from '../../../../src/proxy/placeholders/foreign-forms.ts';
import { CredentialFinder } from '../../../../src/proxy/schemes/forms.ts';
import { createHmac } from 'node:crypto';

const codes = createPlaceholderCodes((text) => createHmac('sha256', 'key').update(text).digest('hex'));
const catalog = await openCatalog();
const forms = { finder: new CredentialFinder(catalog.forms()), codes };

const github = `ghp_${'a1B2'.repeat(9)}`;
const slack = 'xoxb-123456789012-abcdefghijkl';
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
const jwt = `${part({ alg: 'RS256' })}.${part({ sub: 'mallory' })}.c2lnbmF0dXJl`;
const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`;

const inFields = (...fields: string[]) => foreignInFields(fields, forms);
const inBody = (text: string) => {
  const { found, kept } = foreignInBody(Buffer.from(text), forms);
  return { found, kept: kept === null ? null : kept.toString() };
};

describe('a header field', () => {
  it.each([
    ['Authorization', `Bearer ${github}`, 'ghp_…'],
    ['Authorization', basic(`x-access-token:${github}`), 'ghp_…'],
    ['X-Anything', slack, 'xoxb-…'],
    ['X-Session', jwt, 'a JSON Web Token'],
    ['X-Amz-Something', 'AWS4 Credential=AKIAABCDEFGH1JKLMNOP/20261125/eu', 'AKIA…'],
    ['X-Api-Key', '5f0c1a7e9b3d4c2a', 'of its kind'],
    ['x_api_key', '5f0c1a7e9b3d4c2a', 'of its kind'],
    ['X-Figma-Token', '5f0c1a7e9b3d4c2a', 'of its kind'],
    ['Private-Token', '5f0c1a7e9b3d4c2a', 'of its kind'],
    ['Authorization', 'Token 5f0c1a7e9b3d4c2a', 'of its kind'],
    ['Authorization', basic('mallory:5f0c1a7e9b3d4c2a'), 'of its kind'],
  ])('%s: %s is a credential', (name, value, form) => {
    const { found, kept } = inFields('Accept', '*/*', name, value);
    expect(found).toEqual([`the header ${name} (${form})`]);
    expect(kept).toEqual(['Accept', '*/*']);
  });

  it.each([
    ['Authorization', `Bearer ${codes.make(plainForm, 'anyone', 'a grant')}`],
    ['Authorization', `Bearer ${codes.make(jwtForm, 'lease 1', 'a grant')}`],
    ['Authorization', basic(`x:${codes.make(plainForm, 'anyone', 'a grant')}`)],
    ['X-Api-Key', codes.make(plainForm, 'anyone', 'a grant')],
    ['X-Api-Key', 'sk-ant-api03-sidekeyPlaceholder00000000000000000000000000'],
    ['Authorization', 'Bearer AKIASIDE000000000000'],
    ['Authorization', 'Bearer sk-no-key-required-1'],
    ['Authorization', 'Bearer dummy-key-for-the-sdk-1'],
    ['Authorization', 'Bearer test'],
    [
      'Authorization',
      'AWS4-HMAC-SHA256 Credential=AKIASIDE000000000000/x, Signature=5f0c1a7e9b3d4c2a5f0c1a7e',
    ],
    ['User-Agent', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36'],
    ['Idempotency-Key', '6f1d0f7e-32d4-4a7e-8f5e-3f1d0f7e32d4'],
    ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
  ])('%s: %s is not a credential', (name, value) => {
    const fields = [name, value];
    expect(foreignInFields(fields, forms)).toEqual({ found: [], kept: fields });
  });

  it('with the name Cookie loses only the pair that has a credential', () => {
    const { found, kept } = inFields('Cookie', `a=1; sid=${jwt}; b=2`);
    expect(found).toEqual(['the header Cookie (a JSON Web Token)']);
    expect(kept).toEqual(['Cookie', 'a=1; b=2']);
    expect(inFields('cookie', `sid=${jwt}`).kept).toEqual([]);
  });
});

describe('a query', () => {
  it.each([
    [`/a?x=1&token=${github}&y=2`, '/a?x=1&y=2'],
    [`/a?token=${github}`, '/a'],
    [`/a?token=%67%68p%5F${github.slice(4)}&y`, '/a?y'],
    ['/a?Access_Token=5f0c1a7e9b3d4c2a&y=2', '/a?y=2'],
    ['/a?X-Amz-Credential=AKIAABCDEFGH1JKLMNOP%2F2026&y=2', '/a?y=2'],
  ])('loses its parameter with a credential: %s', (target, kept) => {
    const searched = foreignInQuery(target, forms);
    expect(searched.found).toHaveLength(1);
    expect(searched.kept).toBe(kept);
    expect(searched.found.join()).not.toContain(github);
  });

  it.each([`/${github}?`, '/a?access_token=test&key=5f0c1a7e9b3d4c2a', '/a?x=%'])(
    'is unchanged: %s',
    (target) => {
      expect(foreignInQuery(target, forms)).toEqual({ found: [], kept: target });
    },
  );
});

describe('a body', () => {
  it('has each token replaced by asterisks, and keeps its length', () => {
    const text = JSON.stringify({ note: `first\n${github}\tand "${slack}"`, n: 1 });
    const { found, kept } = inBody(text);
    expect(found).toEqual(['the body (ghp_…)', 'the body (xoxb-…)']);
    expect(kept).toBe(
      text.replace(github, '*'.repeat(github.length)).replace(slack, '*'.repeat(slack.length)),
    );
  });

  it.each([
    ['JSON', `{"token":"\\u0067hp_${github.slice(4)}"}`],
    ['a form', `token=%67hp_${github.slice(4)}`],
    ['a form, beside a plain one', `a=${slack}&token=%67hp_${github.slice(4)}`],
  ])('is not rewritten if %s has an escape in the token', (_, text) => {
    expect(inBody(text).found).toContain('the body (ghp_…)');
    expect(inBody(text).kept).toBeNull();
  });

  it('without a token is unchanged, byte for byte', () => {
    const bytes = Buffer.from('{"id":"6f1d0f7e-32d4-4a7e-8f5e-3f1d0f7e32d4","a":"b\\u00e4"}');
    expect(foreignInBody(bytes, forms)).toEqual({ found: [], kept: bytes });
  });
});
