import { z } from 'zod';
import type { ExpiredSign } from '../domain/provider.ts';
import { parseGlob } from '../proxy/policy/text.ts';
import { optional } from '../lib/text.ts';
import { answerField, member } from './provider-dialect.ts';
import { some } from './rules.ts';
import { plainText } from './scalar.ts';

/** Schema of a provider's `expired`: how its API reports an ended token, besides the status 401. */

const value = z.union([plainText('A text, in which * stands for any characters.'), z.number(), z.boolean()]);

/** Accepts one item or a list. */
export function oneOrSome<T extends z.ZodType>(item: T, description: string) {
  return z
    .union([item, some(item, description)])
    .transform((written) => (Array.isArray(written) ? written : [written]) as z.output<T>[])
    .meta({ description });
}

const sign = z
  .strictObject({
    status: oneOrSome(z.int().min(200).max(599), 'The status of the response, or several.'),
    field: optional(
      member,
      'A member of a short JSON body, such as error.code. On the way, each item of a list is looked at.',
    ),
    header: optional(answerField, 'A header field of the response, instead of field.'),
    value: oneOrSome(value, 'What the member or the field says then, or several.').optional(),
  })
  .superRefine(({ status: statuses, field, header, value: values }, context) => {
    const issue = (key: string, message: string) =>
      context.addIssue({ code: 'custom', path: [key], message });
    const place = field ?? header;
    if (field !== undefined && header !== undefined)
      issue('header', 'does not go with field; write two entries');
    else if (place !== undefined && values === undefined)
      issue('value', 'is missing: say what the field has when the token has ended');
    else if (place === undefined && values !== undefined)
      issue('value', 'needs the field or the header that has it');
    else if (place === undefined && statuses.some((each) => each < 400))
      issue('status', 'below 400 needs a field or a header: most such responses are no refusal');
  })
  .transform((written): ExpiredSign => ({
    statuses: written.status,
    path: written.field?.split('.') ?? null,
    header: written.header?.toLowerCase() ?? null,
    values: (written.value ?? []).map((each) => parseGlob(String(each))),
  }));

export const expiredDefinition = oneOrSome(
  sign,
  'How the API says that a token has ended, where not with the status 401 or error="invalid_token" in a 4xx: the token is renewed, and the request sent once more.',
);
