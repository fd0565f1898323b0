import { z } from 'zod';
import type { DpopAlgorithm } from '../grants/credential.ts';
import type {
  Flow,
  HmacPlacement,
  InjectPlace,
  Placement,
  OwnPlan,
  Provider,
  Templates,
} from '../grants/provider.ts';
import { text } from '../lib/schema-text.ts';
import {
  fieldNamed,
  fillTemplate,
  namesIn,
  parseTemplate,
  sentNames,
  signedNames,
} from '../policy/template.ts';
import { isFieldName, isFieldValue, isReservedFieldName } from '../policy/text.ts';
import { pathGlob, some } from './rules.ts';
import { domainPattern } from './scalar.ts';

/** Tokens that are bound to a key (RFC 9449), as a provider's definition says it. */
export const dpopDefinition = z
  .union(
    [
      z.boolean(),
      z.strictObject({
        algorithm: z
          .enum(['ES256', 'EdDSA'])
          .prefault('ES256')
          .meta({ description: 'How proofs are signed. Default: ES256, which every server takes.' }),
      }),
    ],
    { error: 'must be true, false or { algorithm: ES256 | EdDSA }' },
  )
  .transform((written): DpopAlgorithm | null =>
    typeof written === 'object' ? written.algorithm : written ? 'ES256' : null,
  )
  .meta({
    description:
      'Tokens are bound to a key that stays in Sidekey, and each request carries a proof of it (DPoP, RFC 9449). A token that is not bound is refused.',
  });

/** What of a definition binding to a key has to fit. */
interface Bound {
  readonly dpop?: DpopAlgorithm | null | undefined;
  readonly flows?: readonly Flow[] | undefined;
  readonly inject?: readonly InjectPlace[] | undefined;
}

/** Their tokens come from elsewhere, or are none of OAuth's. */
const unboundFlows: readonly Flow[] = ['auth0_connection', 'github_installation', 'aws_role'];

/** Why the tokens of a definition cannot be bound to a key, as the end of a sentence; null: they can. */
export function dpopMisfit({ dpop, flows = [], inject = [] }: Bound): string | null {
  if (dpop === undefined || dpop === null) return null;
  const flow = flows.find((each) => unboundFlows.includes(each));
  if (flow !== undefined) return `does not go with the flow ${flow}, whose tokens are bound to no key`;
  const isElsewhere = inject.some(({ as: { kind } }) => kind !== 'bearer' && kind !== 'own');
  return isElsewhere
    ? 'goes with inject: bearer; a token that is bound to a key is carried in no other way'
    : null;
}

/** The places of a provider, where a bearer becomes a token with a proof. */
export function dpopPlaces(places: readonly InjectPlace[], dpop: Provider['dpop']): readonly InjectPlace[] {
  if (dpop === null) return places;
  return places.map((place) => (place.as.kind === 'bearer' ? { ...place, as: { kind: 'dpop' } } : place));
}

/** A field that a credential may be carried in. */
function fieldName(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['X-Api-Key'] }, (value) => {
    if (!isFieldName(value)) return { problem: 'is no name of a header field' };
    return isReservedFieldName(value) ? { problem: 'is a field that a credential may not become' } : value;
  });
}

/** A parameter of a query or a form. */
function parameterName(description: string): z.ZodType<string, string> {
  return text<string>({ description }, (value) =>
    /^[A-Za-z0-9_.-]+$/.test(value) ? value : { problem: 'is no name of a parameter' },
  );
}

/**
 * A text in which names stand in braces.
 *
 * @param isKnown whether a name may stand there
 * @param fits what is wrong with it, with something in the place of each name; null: nothing
 */
function templateText(
  description: string,
  isKnown: (name: string) => boolean,
  fits: (sample: string) => string | null,
): z.ZodType<string, string> {
  return text<string>({ description }, (value) => {
    const template = parseTemplate(value);
    if (template === null) return { problem: 'has a brace that belongs to no name; write {{ or }} for one' };
    const unknown = namesIn(template).find((name) => !isKnown(name));
    if (unknown !== undefined)
      return { problem: `names {${unknown}}, which does not stand for anything here` };
    const problem = fits(fillTemplate(template, () => 'x'));
    return problem === null ? value : { problem };
  });
}

/** What is wrong with a field value. */
function fieldValueProblem(sample: string): string | null {
  return isFieldValue(sample) ? null : 'is no value of a header field: ASCII without blanks around it';
}

/** Templates by name, the names compared without case. */
function templates(
  key: z.ZodType<string, string>,
  value: z.ZodType<string, string>,
  description: string,
): z.ZodType<Templates, Readonly<Record<string, string>>> {
  return z
    .record(key, value)
    .superRefine((written, context) => {
      const names = Object.keys(written);
      const lower = names.map((name) => name.toLowerCase());
      if (names.length === 0) context.addIssue({ code: 'custom', message: 'is empty' });
      const twice = names.find((_, index) => lower.indexOf(lower[index]!) !== index);
      if (twice !== undefined) {
        context.addIssue({
          code: 'custom',
          path: [twice],
          message: 'is here twice, in upper and lower case',
        });
      }
    })
    .transform((written): Templates => Object.entries(written))
    .meta({ description });
}

/** Requests that are signed with a shared secret, by template. See `HmacPlan`. */

const isSent = (name: string): boolean => name === 'signature' || sentNames.includes(name);
const isSigned = (name: string): boolean => signedNames.includes(name) || fieldNamed(name) !== null;

const sent = `{signature}, {${sentNames.join('}, {')}}`;

const inField = templateText(`Its value: text with ${sent}.`, isSent, fieldValueProblem);
const inParameter = templateText(`Its value: text with ${sent}.`, isSent, () => null);
const sign = templateText(
  `What is signed: text with {${signedNames.join('}, {')}} and {header:NAME}; a line break is one.`,
  isSigned,
  // oxlint-disable-next-line no-control-regex -- these are what is looked for
  (sample) => (/[\0-\x08\x0b-\x1f\x7f]/.test(sample) ? 'has a control character' : null),
);

/** Names of fields that a template has, which are written by other templates with the signature in them. */
function signsSignature({ sign: written, headers }: Pick<HmacPlacement, 'sign' | 'headers'>): boolean {
  const behind = headers
    .filter(([, template]) => template.includes('{signature}'))
    .map(([name]) => name.toLowerCase());
  return namesIn(parseTemplate(written) ?? []).some((name) => behind.includes(fieldNamed(name) ?? ''));
}

const hmacDefinition = z.strictObject({
  hmac: z
    .strictObject({
      algorithm: z.enum(['sha256', 'sha1', 'sha512']).meta({ description: 'The hash of the HMAC.' }),
      sign,
      secret: z
        .enum(['utf8', 'hex', 'base64'])
        .prefault('utf8')
        .meta({ description: 'How the stored secret is written. utf8: its characters are the key.' }),
      encoding: z
        .enum(['hex', 'base64', 'base64url'])
        .prefault('hex')
        .meta({ description: 'How the signature is written.' }),
      timestamp: z
        .enum(['seconds', 'milliseconds', 'iso8601', 'http_date'])
        .prefault('seconds')
        .meta({ description: 'How {timestamp} is written; the first two count from 1970.' }),
      headers: templates(fieldName('A field that is added.'), inField, 'Fields that are added.').optional(),
      query: templates(
        parameterName('A parameter that is added.'),
        inParameter,
        'Parameters that are added behind those of the request; those without {signature} are signed with the query.',
      ).optional(),
    })
    .transform((written): HmacPlacement => {
      const { headers = [], query = [] } = written;
      return { kind: 'hmac', ...written, headers, query };
    })
    .superRefine((plan, context) => {
      const added = [...plan.headers, ...plan.query];
      if (!added.some(([, template]) => namesIn(parseTemplate(template) ?? []).includes('signature'))) {
        context.addIssue({
          code: 'custom',
          message: 'sends {signature} nowhere: name it in headers or query',
        });
      }
      if (signsSignature(plan)) {
        context.addIssue({
          code: 'custom',
          path: ['sign'],
          message: 'names a field that has {signature} in it',
        });
      }
    })
    .meta({ description: 'Each request is signed with a secret that is never sent (HMAC, RFC 2104).' }),
});

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
  pair_username: userName(
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

function planOf(written: Written): Placement {
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
    return { kind: 'basic', username: written.basic, pairUsername: written.pair_username ?? null };
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
