import { forgivingName } from '../forgiving-name.ts';
import { parameter, parametersOf, replacing } from '../parameters.ts';
import type { Rewritten } from './json-member.ts';

/**
 * A form (application/x-www-form-urlencoded) in which one parameter has a value. It stands in the place of the first of
 * that name, else behind all; others of the name go, as the most forgiving server reads it. The rest stays byte by byte.
 */
export function withParameter(text: string, name: string, value: string): Rewritten {
  const parameters = parametersOf(text, new Set([forgivingName(name)]));
  if ('hidden' in parameters) return { problem: `has a parameter that some servers would read as ${name}` };
  return { text: replacing(parameters, name, parameter(name, value)).join('&') };
}
