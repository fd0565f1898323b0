import { z } from 'zod';
import type { PastedToken } from '../grants/provider.ts';
import { isFieldName, isReservedFieldName } from '../policy/field.ts';
import { namesIn, parseTemplate } from '../policy/template.ts';
import { plainText, webPage } from './provider-text.ts';
import { text } from './scalar.ts';

/** The keys and personal tokens that a person makes at the provider and pastes. See `PastedToken`. */

const partName = text<string>({ description: 'The name of a part.' }, (value) =>
  /^[a-z][a-z0-9_]{0,31}$/.test(value)
    ? value
    : { problem: 'is no name of a part: lower case and underscores' },
);

const start = z.strictObject({
  prefix: plainText('What it begins with.'),
  what: plainText('What kind of credential begins so.'),
  wrong: z
    .boolean()
    .prefault(false)
    .meta({ description: 'true: it is not the kind that is meant here; a paste of it is warned of.' }),
});

const part = z.strictObject({
  what: plainText('What it is, for the prompt.'),
  secret: z.boolean().prefault(true).meta({ description: 'false: it may be shown, as a user name may.' }),
  starts: z
    .array(start)
    .prefault([])
    .meta({ description: 'How such values begin, so that a wrong paste is seen.' }),
});

const template = plainText('Text in which {part} stands for a part; {{ and }} for braces.').refine(
  (written) => parseTemplate(written) !== null,
  { error: 'has a brace that belongs to no name; write {{ or }} for one' },
);

const carry = z.union(
  [
    z.strictObject({
      basic: z.strictObject({ username: template, password: template.or(z.literal('')) }),
    }),
    z.strictObject({
      headers: z.record(
        text<string>({ description: 'A field name.' }, (value) =>
          isFieldName(value) && !isReservedFieldName(value)
            ? value
            : { problem: 'is no field that a credential may become' },
        ),
        template,
      ),
    }),
    z.literal('aws').meta({
      description: 'They sign: the parts are access_key_id and secret_access_key.',
    }),
  ],
  { error: 'must be { basic: … }, { headers: … } or aws' },
);

/** The parts that stand in a request; undefined: nothing says so. */
function namesUsed(written: z.output<typeof carry> | undefined): readonly string[] | undefined {
  if (written === undefined) return undefined;
  if (written === 'aws') return ['access_key_id', 'secret_access_key'];
  const texts = 'basic' in written ? Object.values(written.basic) : Object.values(written.headers);
  return texts.flatMap((text) => namesIn(parseTemplate(text) ?? []));
}

export const tokenDefinition = z
  .strictObject({
    what: plainText('What the provider calls it, such as API key.'),
    url: webPage('The page where it is made.').optional(),
    steps: z
      .array(plainText('One step.'))
      .optional()
      .meta({ description: 'How it is made, a sentence each.' }),
    parts: z
      .record(partName, part)
      .optional()
      .meta({ description: 'What has to be pasted. Default: one secret, named token.' }),
    starts: z.array(start).optional().meta({ description: 'Of the one part, where parts are not named.' }),
    carry: carry
      .optional()
      .meta({ description: 'How the parts stand in a request. Default: the one part, as inject says.' }),
  })
  .superRefine(({ parts, starts, carry }, context) => {
    const names = Object.keys(parts ?? { token: null });
    if (parts !== undefined && starts !== undefined) {
      context.addIssue({ code: 'custom', path: ['starts'], message: 'belongs to a part here' });
    }
    if (names.length === 0) context.addIssue({ code: 'custom', path: ['parts'], message: 'is empty' });
    if (names.length > 1 && carry === undefined) {
      context.addIssue({
        code: 'custom',
        path: [],
        message: 'has several parts, so carry must say where each stands',
      });
    }
    const used = namesUsed(carry) ?? names.slice(0, 1);
    for (const name of names) {
      if (!used.includes(name)) {
        context.addIssue({ code: 'custom', path: ['parts', name], message: 'is used nowhere in carry' });
      }
    }
    if (used.some((name) => !names.includes(name))) {
      context.addIssue({ code: 'custom', path: ['carry'], message: 'names a part that there is not' });
    }
  })
  .transform((written): PastedToken => ({
    what: written.what,
    url: written.url ?? null,
    steps: written.steps ?? [],
    parts:
      written.parts === undefined
        ? [{ name: 'token', what: written.what, secret: true, starts: written.starts ?? [] }]
        : Object.entries(written.parts).map(([name, part]) => ({ name, ...part })),
    carry:
      written.carry === undefined
        ? { kind: 'inject' }
        : written.carry === 'aws'
          ? { kind: 'aws' }
          : 'basic' in written.carry
            ? { kind: 'basic', ...written.carry.basic }
            : { kind: 'headers', headers: Object.entries(written.carry.headers) },
  }))
  .meta({ description: 'Keys and personal tokens that are pasted: sidekey connect NAME --token.' });
