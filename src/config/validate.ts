import type { z } from 'zod';
import type { ConfigDocument } from './document.ts';
import { orMeant } from '../lib/text.ts';
import type { Path, Problem } from './problem.ts';

/**
 * Validates a document with a schema: returns the value, or all problems with their positions. No message
 * contains a value.
 */
export function validate<T>(
  schema: z.ZodType<T>,
  document: ConfigDocument,
): { readonly value: T } | { readonly problems: readonly Problem[] } {
  const result = schema.safeParse(document.value, { error: describe });
  if (result.success) return { value: result.data };
  return {
    problems: result.error.issues
      .flatMap((issue) => flatten(issue, []))
      .map(({ path, of, message }) => ({ ...document.position(path, of), path, message })),
  };
}

function flatten(
  issue: z.core.$ZodIssue,
  base: Path,
): { readonly path: Path; readonly of: 'value' | 'key'; readonly message: string }[] {
  const path = [...base, ...issue.path.filter((step) => typeof step !== 'symbol')];
  switch (issue.code) {
    case 'unrecognized_keys': {
      // One line for each key, see `describe`.
      const messages = issue.message.split('\n');
      return issue.keys.map((key, index) => ({
        path: [...path, key],
        of: 'key',
        message: messages[index] ?? 'is not known here',
      }));
    }
    case 'invalid_key':
      return [{ path, of: 'key', message: issue.issues[0]?.message ?? issue.message }];
    case 'invalid_union': {
      // Selects the intended alternative: one with a problem inside the value, and without unknown keys.
      const alike = issue.errors.filter((issues) => !issues.some(isOfAnotherKind));
      const [only, another] = alike;
      const meant =
        alike.find((issues) => !issues.some(hasOtherKeys)) ??
        // Else one with all of its own keys, and unknown ones.
        alike.find((issues) => issues.every(hasOtherKeys)) ??
        (another === undefined ? only : undefined);
      if (meant !== undefined) return meant.flatMap((inner) => flatten(inner, path));
      return [{ path, of: 'value', message: issue.message }];
    }
    default:
      return [{ path, of: 'value', message: issue.message }];
  }
}

function isOfAnotherKind({ code, path }: z.core.$ZodIssue): boolean {
  return path.length === 0 && (code === 'invalid_type' || code === 'invalid_value');
}

function hasOtherKeys({ code, path }: z.core.$ZodIssue): boolean {
  return path.length === 0 && code === 'unrecognized_keys';
}

/** Returns the end of a sentence for an issue without a message of the schema. */
function describe(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.input === undefined) return 'is missing';
      return issue.input === null
        ? `is empty; ${kinds[issue.expected] ?? issue.expected} is expected, or take the key out`
        : `must be ${kinds[issue.expected] ?? issue.expected}, but is ${kindOf(issue.input)}`;
    case 'invalid_value': {
      if (issue.input === undefined) return 'is missing';
      const choices = issue.values.map(String);
      const choice = `must be ${choices.length > 1 ? 'one of ' : ''}${choices.join(', ')}`;
      return typeof issue.input === 'string' ? `${choice}${orMeant(issue.input, choices, '')}` : choice;
    }
    case 'too_small':
      return `must be at least ${issue.minimum}`;
    case 'too_big':
      return `must be at most ${issue.maximum}`;
    case 'unrecognized_keys': {
      const keys = Object.keys((issue.inst as z.ZodObject | undefined)?.shape ?? {});
      return issue.keys
        .map((key) => `is not a key here${orMeant(key, keys, `; there are ${keys.join(', ')}`)}`)
        .join('\n');
    }
    default:
      return undefined;
  }
}

const kinds: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'a map',
  record: 'a map',
  array: 'a list',
};

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'object':
      return 'a map';
    case 'string':
      return 'a text';
    case 'boolean':
      return 'true or false';
    default:
      return 'a number';
  }
}
