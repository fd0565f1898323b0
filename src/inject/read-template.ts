import { SidekeyError } from '../errors.ts';
import { parseTemplate, type Template } from '../policy/template.ts';

/** A template of a provider's definition, which was checked when that was read. */
export function readTemplate(written: string): Template {
  const template = parseTemplate(written);
  if (template === null)
    throw new SidekeyError('internal', 'A template of the provider has a brace too many.');
  return template;
}
