import { z } from 'zod';
import { text } from '../lib/schema-text.ts';
import { fillTemplate, namesIn, parseTemplate } from '../policy/template.ts';
import { isFieldName, isFieldValue, isReservedFieldName } from '../policy/text.ts';

/** Names, each with a template of its value: see `policy/template.ts`. */
export type Templates = readonly (readonly [name: string, template: string])[];

/** Schema of a field that may carry a credential. */
export function fieldName(description: string): z.ZodType<string, string> {
  return text<string>({ description, examples: ['X-Api-Key'] }, (value) => {
    if (!isFieldName(value)) return { problem: 'is no name of a header field' };
    return isReservedFieldName(value) ? { problem: 'is a field that a credential may not become' } : value;
  });
}

/** Schema of a parameter of a query or a form. */
export function parameterName(description: string): z.ZodType<string, string> {
  return text<string>({ description }, (value) =>
    /^[A-Za-z0-9_.-]+$/.test(value) ? value : { problem: 'is no name of a parameter' },
  );
}

/**
 * Schema of a template.
 *
 * @param isKnown whether a name may stand in it
 * @param problemOf the problem of a sample of the filled template; null: none
 */
export function templateText(
  description: string,
  isKnown: (name: string) => boolean,
  problemOf: (sample: string) => string | null,
): z.ZodType<string, string> {
  return text<string>({ description }, (value) => {
    const template = parseTemplate(value);
    if (template === null) return { problem: 'has a brace that belongs to no name; write {{ or }} for one' };
    const unknown = namesIn(template).find((name) => !isKnown(name));
    if (unknown !== undefined)
      return { problem: `names {${unknown}}, which does not stand for anything here` };
    const problem = problemOf(fillTemplate(template, () => 'x'));
    return problem === null ? value : { problem };
  });
}

/** Returns the problem of a field value; null: none. */
export function fieldValueProblem(sample: string): string | null {
  return isFieldValue(sample) ? null : 'is no value of a header field: ASCII without blanks around it';
}

/** Schema of templates by name. Names are compared without case. */
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

/** Returns the names in templates, each as often as it stands there. */
export function namesInTemplates(templates: Templates): readonly string[] {
  return templates.flatMap(([, written]) => namesIn(parseTemplate(written) ?? []));
}
