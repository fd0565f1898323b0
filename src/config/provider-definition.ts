import { z } from 'zod';
import type { InjectPlan } from '../grants/provider.ts';
import { isFieldName, isReservedFieldName } from '../policy/field.ts';
import { domainPattern, endpoint, issuer, secretReference, text } from './scalar.ts';

const fieldName = text<string>(
  { description: 'The header field that carries the credential.', examples: ['X-Api-Key'] },
  (value) => {
    if (!isFieldName(value)) return { problem: 'is no name of a header field' };
    return isReservedFieldName(value) ? { problem: 'is a field that a credential may not become' } : value;
  },
);

const injectPlan = z
  .union(
    [
      z.literal('bearer').meta({ description: 'Authorization: Bearer … (RFC 6750).' }),
      z.strictObject({
        header: fieldName,
        prefix: text<string>(
          { description: 'What stands before the credential, with its space.', examples: ['Token '] },
          (value) => (/^[\x20-\x7e]*$/.test(value) ? value : { problem: 'has characters other than ASCII' }),
        ).prefault(''),
      }),
    ],
    { error: 'must be bearer or { header: NAME }' },
  )
  .transform((plan): InjectPlan =>
    plan === 'bearer' ? { kind: 'bearer' } : { kind: 'header', name: plan.header, prefix: plan.prefix },
  )
  .meta({ description: 'How a credential that is one value stands in a request. Default: bearer.' });

const printable = (description: string): z.ZodType<string, string> =>
  text<string>({ description }, (value) =>
    /^[\x20-\x7e]+$/.test(value) ? value : { problem: 'must be printable ASCII, and not empty' },
  );

const scope = text<string>({ description: 'One scope.' }, (value) =>
  /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(value)
    ? value
    : { problem: 'is no scope (RFC 6749 §3.3): one entry of the list for each' },
);

const fields = {
  title: printable('The name for people.').optional(),
  authorization_endpoint: endpoint('Where a person gives consent (RFC 6749 §3.1).').optional(),
  token_endpoint: endpoint('Where tokens are issued and refreshed (RFC 6749 §3.2).').optional(),
  revocation_endpoint: endpoint('Where tokens are revoked (RFC 7009).').optional(),
  issuer: issuer('The issuer, checked in authorization responses (RFC 9207).').optional(),
  client_id: printable('The client that is registered at the provider.').optional(),
  client_auth: z.enum(['basic', 'post', 'none']).optional().meta({
    description:
      'How the client authenticates at the token endpoint. Default: basic with a client_secret, none without.',
  }),
  scopes: z.array(scope).optional().meta({ description: 'The scopes to ask for.' }),
  audience: z
    .array(domainPattern('host, host:port or *.suffix'))
    .min(1, 'is empty; list the hosts that the credential may be sent to')
    .optional()
    .meta({ description: 'The only hosts that a credential of this provider may ever be sent to.' }),
  inject: injectPlan.optional(),
} as const;

/** A provider as the config file defines it. */
export const providerSchema = z
  .strictObject({
    ...fields,
    client_secret: secretReference(
      'Where the client secret is: env:NAME, file:PATH or command:…. Never the secret itself.',
    ).optional(),
  })
  .meta({ description: 'Where consent and tokens come from, and where the credential may go.' });

/** A provider of the built-in catalog: whole, and without a secret. */
export const catalogProviderSchema = z.strictObject({
  ...fields,
  title: printable('The name for people.'),
  audience: fields.audience.unwrap(),
});

/** A provider as written, checked value by value. */
export type ProviderDefinition = z.output<typeof providerSchema>;
