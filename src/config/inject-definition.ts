import { z } from 'zod';
import type { InjectPlace, InjectPlan, OwnPlan } from '../grants/provider.ts';
import { isFieldName } from '../policy/field.ts';
import { namesIn, parseTemplate } from '../policy/template.ts';
import { hmacDefinition } from './hmac-definition.ts';
import { pathGlob, some } from './rule-scalar.ts';
import { domainPattern, text } from './scalar.ts';
import { fieldName, fieldValueProblem, parameterName, templates, templateText } from './template-text.ts';

/** How a provider's credential is carried, and where in which way. See `InjectPlace`. */

/** RFC 7617 §2: a colon would end it. */
function userName(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['x-access-token'] }, (value) =>
    /^[\x21-\x39\x3b-\x7e]+$/.test(value)
      ? value
      : { problem: 'is no user name: visible ASCII without a colon' },
  );
}

const bearer = z.literal('bearer').meta({ description: 'Authorization: Bearer … (RFC 6750).' });

const inFields = z.strictObject({
  header: fieldName('The header field that carries the credential.'),
  prefix: text<string>(
    { description: 'What stands before the credential, with its space.', examples: ['Token '] },
    (value) => (/^[\x20-\x7e]*$/.test(value) ? value : { problem: 'has characters other than ASCII' }),
  ).prefault(''),
});

const asPassword = z.strictObject({
  basic: userName('Authorization: Basic … (RFC 7617): the user name that stands before the credential.'),
  for_pair: userName(
    'For a credential that is a user name and a password: what stands in the place of its user name. Default: its own stays.',
  ).optional(),
});

const inPath = z.strictObject({
  path: z
    .array(
      text<string>({ description: 'The beginning of a path, up to the credential.' }, (value) =>
        /^(\/[A-Za-z0-9._-]+)+\/?$/.test(value)
          ? value
          : { problem: 'is no beginning of a path, such as /bot' },
      ),
    )
    .min(1),
});

const inQuery = z.strictObject({ query: parameterName('The parameter of the query.') });

const credentialNames = ['token', 'username', 'password'];

const byTemplates = z.strictObject({
  headers: templates(
    fieldName('A field that is added.'),
    templateText(
      'Its value: {token} stands for the credential, or {username} and {password} for one that is both; {{ and }} for braces.',
      (name) => credentialNames.includes(name),
      fieldValueProblem,
    ),
    'Fields that carry the credential.',
  ).superRefine((headers, context) => {
    const names = headers.flatMap(([, written]) => namesIn(parseTemplate(written) ?? []));
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
});

const inCookie = z.strictObject({
  cookie: text<string>(
    { description: 'The cookie that carries the credential.', examples: ['session'] },
    (value) => (isFieldName(value) ? value : { problem: 'is no name of a cookie' }),
  ),
});

const inJson = z.strictObject({
  json: text<readonly string[]>(
    {
      description:
        'The member of the JSON object in the body; /one/two (RFC 6901) for one within another object.',
      examples: ['api_key', '/auth/token'],
    },
    (value) => {
      const path = value.startsWith('/') ? value.slice(1).split('/') : [value];
      if (path.includes('') || /\p{Cc}/u.test(value)) return { problem: 'is no name of a member' };
      if (!value.startsWith('/')) return path;
      if (/~(?![01])/.test(value)) return { problem: 'has a ~ that is neither ~0 nor ~1 (RFC 6901)' };
      return path.map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
    },
  ),
});

const inForm = z.strictObject({ form: parameterName('The parameter of the form that is the body.') });

/** A part of the scope of a signature. */
function signingName(description: string): z.ZodType<string, string> {
  return text<string>({ description }, (value) =>
    /^[A-Za-z0-9-]{1,64}$/.test(value) ? value : { problem: 'is no name of a service or a region' },
  );
}

const signed = z.literal('aws_sigv4').meta({
  description: 'The request is signed (AWS Signature Version 4); the host says for which service and region.',
});

const signedFor = z.strictObject({
  aws_sigv4: z.strictObject({
    service: signingName('The service that requests are signed for, such as s3.'),
    region: signingName('The region. Default: the one that the client signs for.').optional(),
  }),
});

const placeholder = z.literal('placeholder').meta({
  description:
    'Where the client put the placeholder that it was given, and nowhere else; `placeholders` says where it may.',
});

const inHandshake = z.literal('client_certificate').meta({
  description:
    'No field: the certificate of the grant is shown in the TLS handshake, on connections that serve that grant alone. An Authorization of the client goes on.',
});

const own = z.literal('own').meta({
  description:
    'No credential; the Authorization of the client goes on: for tokens that the service itself hands out, as registries do.',
});

const everyKind = [
  bearer,
  placeholder,
  inFields,
  byTemplates,
  asPassword,
  inPath,
  inQuery,
  inCookie,
  inJson,
  inForm,
  signed,
  signedFor,
  hmacDefinition,
  inHandshake,
] as const;
const kinds =
  'bearer, placeholder, { header: NAME }, { headers: … }, { basic: USER }, { path: [BEGINNING] }, { query: NAME }, { cookie: NAME }, { json: NAME }, { form: NAME }, aws_sigv4, { hmac: … }, client_certificate';

type Written = z.output<(typeof everyKind)[number]>;

function planOf(written: Written): InjectPlan {
  if (written === 'bearer' || written === 'placeholder' || written === 'client_certificate')
    return { kind: written };
  if (written === 'aws_sigv4') return { kind: 'aws_sigv4', service: null, region: null };
  if ('aws_sigv4' in written) {
    const { service, region = null } = written.aws_sigv4;
    return { kind: 'aws_sigv4', service, region };
  }
  if ('hmac' in written) return written.hmac;
  if ('headers' in written) return { kind: 'headers', headers: written.headers };
  if ('cookie' in written) return { kind: 'cookie', name: written.cookie };
  if ('json' in written) return { kind: 'json', path: written.json };
  if ('form' in written) return { kind: 'form', name: written.form };
  if ('path' in written) return { kind: 'path', prefixes: written.path };
  if ('query' in written) return { kind: 'query', name: written.query };
  if ('basic' in written)
    return { kind: 'basic', username: written.basic, forPair: written.for_pair ?? null };
  return { kind: 'header', name: written.header, prefix: written.prefix };
}

const ownPlan: OwnPlan = { kind: 'own' };

const place = z
  .strictObject({
    hosts: some(domainPattern('host, host:port or *.suffix'), 'The hosts; default: all.').optional(),
    paths: some(
      pathGlob('A path. One that two servers would read differently is none of them.'),
      'The paths; default: all.',
    ).optional(),
    as: z
      .union([...everyKind, own], { error: `must be ${kinds} or own` })
      .meta({ description: 'How the credential is carried there.' }),
  })
  .transform(({ hosts, paths, as }): InjectPlace => ({
    hosts: hosts?.map((pattern) => pattern.text) ?? null,
    paths: paths?.map((glob) => glob.text) ?? null,
    as: as === 'own' ? ownPlan : planOf(as),
  }));

export const injectDefinition = z
  .union(
    [...everyKind, some(place, 'The first place that has the request says; elsewhere it does not go.')],
    {
      error: `must be ${kinds}, or a list of { hosts, paths, as }`,
    },
  )
  .transform((written): readonly InjectPlace[] =>
    Array.isArray(written) ? written : [{ hosts: null, paths: null, as: planOf(written) }],
  )
  .meta({
    description: 'How a credential stands in a request; a list says it for each place. Default: bearer.',
  });
