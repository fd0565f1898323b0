import { z } from 'zod';
import type { Templates } from '../grants/provider.ts';
import { isFieldName, isFieldValue, isReservedFieldName } from '../policy/field.ts';
import { fillTemplate, namesIn, parseTemplate } from '../policy/template.ts';
import { text } from './scalar.ts';

/** A field that a credential may be carried in. */
export function fieldName(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['X-Api-Key'] }, (value) => {
    if (!isFieldName(value)) return { problem: 'is no name of a header field' };
    return isReservedFieldName(value) ? { problem: 'is a field that a credential may not become' } : value;
  });
}

/** A parameter of a query or a form. */
export function parameterName(description: string): z.ZodType<string, string> {
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
export function templateText(
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
export function fieldValueProblem(sample: string): string | null {
  return isFieldValue(sample) ? null : 'is no value of a header field: ASCII without blanks around it';
}

/** Templates by name, the names compared without case. */
export function templates(
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
