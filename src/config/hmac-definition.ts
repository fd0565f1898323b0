import { z } from 'zod';
import type { HmacPlan } from '../grants/provider.ts';
import { fieldNamed, sentNames, signedNames } from '../policy/hmac-names.ts';
import { namesIn, parseTemplate } from '../policy/template.ts';
import { fieldName, fieldValueProblem, parameterName, templates, templateText } from './template-text.ts';

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
function signsSignature({ sign: written, headers }: Pick<HmacPlan, 'sign' | 'headers'>): boolean {
  const behind = headers
    .filter(([, template]) => template.includes('{signature}'))
    .map(([name]) => name.toLowerCase());
  return namesIn(parseTemplate(written) ?? []).some((name) => behind.includes(fieldNamed(name) ?? ''));
}

export const hmacDefinition = z.strictObject({
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
    .transform((written): HmacPlan => {
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
