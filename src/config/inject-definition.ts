import { z } from 'zod';
import type { InjectPlace, InjectPlan, OwnPlan } from '../grants/provider.ts';
import { isFieldName, isReservedFieldName } from '../policy/field.ts';
import { pathGlob, some } from './rule-scalar.ts';
import { domainPattern, text } from './scalar.ts';

/** How a provider's credential is carried, and where in which way. See `InjectPlace`. */

const fieldName = text<string>(
  { description: 'The header field that carries the credential.', examples: ['X-Api-Key'] },
  (value) => {
    if (!isFieldName(value)) return { problem: 'is no name of a header field' };
    return isReservedFieldName(value) ? { problem: 'is a field that a credential may not become' } : value;
  },
);

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
  header: fieldName,
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

const inQuery = z.strictObject({
  query: text<string>({ description: 'The parameter of the query.' }, (value) =>
    /^[A-Za-z0-9_.-]+$/.test(value) ? value : { problem: 'is no name of a parameter' },
  ),
});

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
  asPassword,
  inPath,
  inQuery,
  signed,
  signedFor,
  inHandshake,
] as const;
const kinds =
  'bearer, placeholder, { header: NAME }, { basic: USER }, { path: [BEGINNING] }, { query: NAME }, aws_sigv4, client_certificate';

type Written = z.output<(typeof everyKind)[number]>;

function planOf(written: Written): InjectPlan {
  if (written === 'bearer' || written === 'placeholder' || written === 'client_certificate')
    return { kind: written };
  if (written === 'aws_sigv4') return { kind: 'aws_sigv4', service: null, region: null };
  if ('aws_sigv4' in written) {
    const { service, region = null } = written.aws_sigv4;
    return { kind: 'aws_sigv4', service, region };
  }
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
    description:
      'How a credential that is one value stands in a request; a list says it for each place. Default: bearer.',
  });
