import { z } from 'zod';
import type { PastedToken } from '../domain/provider.ts';
import { optional, prefault, text } from '../lib/text.ts';
import { namesIn, parseTemplate } from '../proxy/schemes/parameters.ts';
import { isFieldName, isReservedFieldName } from '../proxy/policy/text.ts';
import { plainText, webPage } from './scalar.ts';

/** API keys and personal tokens that the user creates at the provider. See `PastedToken`. */

const partName = text<string>({ description: 'The name of a part.' }, (value) =>
  /^[a-z][a-z0-9_]{0,31}$/.test(value)
    ? value
    : { problem: 'is not a name of a part: lower case and underscores' },
);

const prefix = z
  .strictObject({
    prefix: plainText('Beginning of such a value.'),
    label: plainText('Kind of credential that begins so.'),
    wrong_kind: z
      .boolean()
      .prefault(false)
      .meta({ description: 'true: it is not the kind that is meant here; a paste of it is warned of.' }),
  })
  .transform(({ wrong_kind: wrongKind, ...known }) => ({ ...known, wrongKind }));

const part = z.strictObject({
  label: plainText('Name in the prompt.'),
  secret: z.boolean().prefault(true).meta({ description: 'false: it may be shown, as a user name may.' }),
  prefixes: prefault(z.array(prefix), [], 'Beginnings of such values, to detect a wrong paste.'),
});

const template = plainText(
  'Text; {part} is replaced by a part of the credential, {{ and }} by braces.',
).refine((written) => parseTemplate(written) !== null, {
  error: 'has a brace that belongs to no name; write {{ or }} for one',
});

const tokenInjection = z.union(
  [
    z.strictObject({
      basic: z.strictObject({ username: template, password: template.or(z.literal('')) }),
    }),
    z.strictObject({
      headers: z.record(
        text<string>({ description: 'A field name.' }, (value) =>
          isFieldName(value) && !isReservedFieldName(value)
            ? value
            : { problem: 'is not a field that a credential may become' },
        ),
        template,
      ),
    }),
    z.literal('aws').meta({ description: 'They sign: the parts are access_key_id and secret_access_key.' }),
  ],
  { error: 'must be { basic: … }, { headers: … } or aws' },
);

/** Parts that a request contains; undefined: unknown. */
function namesUsed(written: z.output<typeof tokenInjection> | undefined): readonly string[] | undefined {
  if (written === undefined) return undefined;
  if (written === 'aws') return ['access_key_id', 'secret_access_key'];
  const texts = 'basic' in written ? Object.values(written.basic) : Object.values(written.headers);
  return texts.flatMap((text) => namesIn(parseTemplate(text) ?? []));
}

export const tokenDefinition = z
  .strictObject({
    label: plainText('Name that the provider uses, such as API key.'),
    url: webPage('The page where it is made.').optional(),
    steps: optional(z.array(plainText('One step.')), 'Steps to create it, a sentence each.'),
    parts: optional(z.record(partName, part), 'Parts to paste. Default: one secret, named token.'),
    prefixes: optional(z.array(prefix), 'Beginnings of the one part, if parts is absent.'),
    inject: tokenInjection
      .optional()
      .meta({ description: 'The place of each part in a request. Default: one part, placed by inject.' }),
  })
  .superRefine(({ parts, prefixes, inject }, context) => {
    const issue = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
    const names = Object.keys(parts ?? { token: null });
    if (parts !== undefined && prefixes !== undefined) issue(['prefixes'], 'belongs to a part here');
    if (names.length === 0) issue(['parts'], 'is empty');
    if (names.length > 1 && inject === undefined)
      issue([], 'has several parts, so inject must name the place of each');
    const used = namesUsed(inject) ?? names.slice(0, 1);
    for (const name of names) {
      if (!used.includes(name)) issue(['parts', name], 'is used nowhere in inject');
    }
    if (used.some((name) => !names.includes(name))) issue(['inject'], 'names a part that there is not');
  })
  .transform((written): PastedToken => ({
    label: written.label,
    url: written.url ?? null,
    steps: written.steps ?? [],
    parts:
      written.parts === undefined
        ? [{ name: 'token', label: written.label, secret: true, prefixes: written.prefixes ?? [] }]
        : Object.entries(written.parts).map(([name, part]) => ({ name, ...part })),
    inject:
      written.inject === undefined
        ? { kind: 'inject' }
        : written.inject === 'aws'
          ? { kind: 'aws' }
          : 'basic' in written.inject
            ? { kind: 'basic', ...written.inject.basic }
            : { kind: 'headers', headers: Object.entries(written.inject.headers) },
  }))
  .meta({ description: 'Keys and personal tokens that are pasted: sidekey connect NAME --token.' });
