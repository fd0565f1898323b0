import { z } from 'zod';
import type { Credential } from '../../domain/credential.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { text } from '../../lib/text.ts';
import { basicField, ownFields, singleValue } from './credential.ts';
import { boundToken, isBound } from './dpop.ts';
import {
  fieldName,
  fieldValueProblem,
  fillTemplate,
  namesInTemplates,
  parseTemplate,
  type Template,
  templates,
  type Templates,
  templateText,
} from './parameters.ts';
import { type AuthScheme, refused, scheme } from './scheme.ts';

/** Schemes that send the credential in header fields. */

/** `Authorization: Bearer` (RFC 6750 §2.1). A token bound to a key is still sent with a proof (DPoP). */
export const bearer: AuthScheme<{ readonly kind: 'bearer' }, 'bearer'> = {
  ...scheme('bearer', 'Authorization: Bearer … (RFC 6750).', 'Authorization: Bearer …'),
  prepare: ({ credential }) =>
    isBound(credential)
      ? boundToken(credential)
      : { fields: ownFields(credential) ?? [['Authorization', `Bearer ${singleValue(credential)}`]] },
};

type HeaderPlacement = { readonly kind: 'header'; readonly name: string; readonly prefix: string };

/** A field of the provider's own, such as `X-Api-Key: VALUE` or `Authorization: token VALUE`. */
export const header: AuthScheme<HeaderPlacement, { readonly header: string; readonly prefix: string }> = {
  kind: 'header',
  syntax: '{ header: NAME }',
  schemas: [
    z.strictObject({
      header: fieldName('The header field that carries the credential.'),
      prefix: text<string>(
        { description: 'The text before the credential, with its space.', examples: ['Token '] },
        (value) => (/^[\x20-\x7e]*$/.test(value) ? value : { problem: 'has characters other than ASCII' }),
      ).prefault(''),
    }),
  ],
  parse: ({ header: name, prefix }) => ({ kind: 'header', name, prefix }),
  format: ({ name, prefix }) => ({ header: name, prefix }),
  describe: ({ name, prefix }) => `${name}: ${prefix}…`,
  fieldNames: ({ name }) => [name],
  prepare: ({ credential }, { name, prefix }) => ({
    fields: ownFields(credential) ?? [[name, `${prefix}${singleValue(credential)}`]],
  }),
};

type BasicPlacement = {
  readonly kind: 'basic';
  readonly username: string;
  /** User name in place of that of a pair; null: the user name of the pair is used. */
  readonly pairUsername: string | null;
};

/** RFC 7617 §2: a colon would end it. */
function userName(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['x-access-token'] }, (value) =>
    /^[\x21-\x39\x3b-\x7e]+$/.test(value)
      ? value
      : { problem: 'is not a user name: visible ASCII without a colon' },
  );
}

/** The password of a user name that names the kind of token (RFC 7617), as git and registries use it. */
export const basic: AuthScheme<
  BasicPlacement,
  { readonly basic: string; readonly pair_username?: string | undefined }
> = {
  kind: 'basic',
  syntax: '{ basic: USER }',
  schemas: [
    z.strictObject({
      basic: userName('Authorization: Basic … (RFC 7617): the user name before the credential.'),
      pair_username: userName(
        'For a credential that is a user name and a password: the user name to send instead of its own. Default: its own.',
      ).optional(),
    }),
  ],
  parse: ({ basic: username, pair_username: pairUsername = null }) => ({
    kind: 'basic',
    username,
    pairUsername,
  }),
  format: ({ username, pairUsername }) => ({
    basic: username,
    ...(pairUsername === null ? {} : { pair_username: pairUsername }),
  }),
  describe: ({ username }) => `Authorization: Basic ${username}:…`,
  prepare: ({ credential }, { username, pairUsername }) => ({
    fields: ownFields(credential, pairUsername) ?? [basicField(username, singleValue(credential))],
  }),
};

type HeadersPlacement = { readonly kind: 'headers'; readonly headers: Templates };

const credentialNames = ['token', 'username', 'password'];

/** Fields by templates: `{token}`, or `{username}` and `{password}` of a credential that has both. */
export const headers: AuthScheme<HeadersPlacement, { readonly headers: Templates }> = {
  kind: 'headers',
  syntax: '{ headers: … }',
  schemas: [
    z.strictObject({
      headers: templates(
        fieldName('A field that is added.'),
        templateText(
          'Its value: {token} is replaced by the credential ({username} and {password} for a pair), {{ and }} by braces.',
          (name) => credentialNames.includes(name),
          fieldValueProblem,
        ),
        'Fields that carry the credential.',
      ).superRefine((written, context) => {
        const names = namesInTemplates(written);
        if (names.length === 0) {
          context.addIssue({ code: 'custom', message: 'name neither {token} nor {username} and {password}' });
        }
        if (names.includes('token') && names.some((name) => name !== 'token')) {
          context.addIssue({
            code: 'custom',
            message: 'name {token} and {username} or {password}: no credential has all of these',
          });
        }
      }),
    }),
  ],
  parse: ({ headers: written }) => ({ kind: 'headers', headers: written }),
  format: (placement) => ({ headers: Object.fromEntries(placement.headers) }),
  describe: (placement) =>
    placement.headers
      .map(([name, template]) => `${name}: ${fillTemplate(readTemplate(template), () => '…')}`)
      .join(', '),
  fieldNames: (placement) => placement.headers.map(([name]) => name),
  accepts: (placement) => (namesInTemplates(placement.headers).includes('token') ? 'single' : 'pair'),
  prepare({ credential }, placement) {
    const valueOf = (name: string): string => valueNamed(name, credential);
    return {
      fields: placement.headers.map(
        ([name, template]) => [name, fillTemplate(readTemplate(template), valueOf)] as const,
      ),
    };
  },
};

function valueNamed(name: string, credential: Credential): string {
  if (name === 'token') return singleValue(credential);
  if (credential.type !== 'basic') {
    throw refused(
      `The provider of this grant carries {${name}}, and its credential is no user name and password.`,
      'add the grant again with --replace: {"type":"basic","username":"…","password":"…"}, or write {token} in the provider',
    );
  }
  return name === 'username' ? credential.username : credential.password;
}

/** Parses a template of a provider's definition, which was checked when that was read. */
export function readTemplate(written: string): Template {
  const template = parseTemplate(written);
  if (template === null)
    throw new SidekeyError('internal', 'A template of the provider has a brace too many.');
  return template;
}
