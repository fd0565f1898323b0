import { z } from 'zod';

/** Quotes a text as one word of a POSIX shell if necessary. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:@%+,-]+$/.test(text) ? text : shellQuoted(text);
}

/** Quotes a text for a POSIX shell, where all characters in single quotes are literal. */
export function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Escapes the control characters of untrusted text, so that it cannot control a terminal. */
export function visible(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}

/** White space except the space, blank fillers, unassigned and private characters, stacked marks. */
const deceptive =
  /(?! )[\p{Zs}\p{Co}\p{Cn}\p{Cs}\u115f\u1160\u2800\u3164\uffa0]|[\ufe00-\ufe0f\u{e0100}-\u{e01ef}]|\p{M}{4,}/gu;

/**
 * Escapes an agent's text for a person who decides on its request. The text must not control the terminal,
 * imitate other text, or push it out of sight. Several spaces become one.
 */
export function untrusted(text: string): string {
  return visible(text)
    .replace(deceptive, (found) => Array.from(found, written).join(''))
    .replace(/ {2,}/g, ' ');
}

function written(character: string): string {
  const code = (character.codePointAt(0) ?? 0).toString(16);
  return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, '0')}`;
}

/**
 * Returns the Base64 of bytes that follow `offset` others, without the letters that depend on their
 * neighbours: in `Basic` a secret follows the client ID.
 */
export function base64Within(bytes: Buffer, offset: number): string {
  const all = Buffer.concat([Buffer.alloc(offset), bytes]);
  return all.toString('base64').slice(Math.ceil((offset * 8) / 6), Math.floor((all.length * 8) / 6));
}

/** Returns a sentence without its full stop, to put it inside another. */
export function withoutStop(sentence: string): string {
  return sentence.replace(/\.$/, '');
}

/** Returns the most likely name for a mistyped one, or null. At most a third of the letters may differ. */
export function didYouMean(text: string, known: readonly string[]): string | null {
  const scored = known
    .map((name) => ({ name, distance: editDistance(text.toLowerCase(), name.toLowerCase()) }))
    .filter(({ name, distance }) => distance <= Math.max(1, Math.floor(Math.max(name.length, 3) / 3)))
    .toSorted((a, b) => a.distance - b.distance);
  return scored[0]?.name ?? null;
}

/** Returns the end of a sentence about an unknown name: `; did you mean NAME?`, or `otherwise`. */
export function orMeant(text: string, known: readonly string[], otherwise = '.'): string {
  const near = didYouMean(text, known);
  return near === null ? otherwise : `; did you mean ${near}?`;
}

/** Counts insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  // Bounds the work.
  if (Math.abs(a.length - b.length) > 16) return Infinity;
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          at(rows, i - 1, j) + 1,
          (row[j - 1] ?? Infinity) + 1,
          at(rows, i - 1, j - 1) + cost,
          swapped ? at(rows, i - 2, j - 2) + 1 : Infinity,
        ),
      );
    }
    rows.push(row);
  }
  return at(rows, a.length, b.length);
}

function at(rows: readonly (readonly number[])[], row: number, column: number): number {
  return rows[row]?.[column] ?? Infinity;
}

/** Facts about a text of the config file, for its schema. */
interface TextMeta {
  /** Purpose of the key, which editors show. */
  readonly description: string;
  readonly examples?: readonly unknown[];
  /** Pattern for editors. `read` validates the text. */
  readonly pattern?: string;
  /** End of the message `must be …` for a value of another type. */
  readonly kind?: string;
}

/** Schema of a text that `read` converts. A problem ends a sentence, and never contains the text. */
export function text<T>(
  { kind, ...meta }: TextMeta,
  read: (text: string) => NoInfer<T> | { readonly problem: string },
): z.ZodType<T, string> {
  return z
    .string({
      error: ({ input }) =>
        kind === undefined || input === undefined || input === null ? undefined : `must be ${kind}`,
    })
    .transform((value, context): T => {
      const result = read(value);
      if (!isProblem(result)) return result;
      context.addIssue({ code: 'custom', message: result.problem });
      return z.NEVER;
    })
    .meta(meta);
}

/** Returns the schema of a key that may be absent. Editors show its description. */
export function optional<Schema extends z.ZodType>(
  schema: Schema,
  description: string,
): z.ZodOptional<Schema> {
  return schema.optional().meta({ description });
}

/** Returns the schema of a key with a default, as it is written in the file. */
export function prefault<Schema extends z.ZodType>(
  schema: Schema,
  value: Parameters<Schema['prefault']>[0],
  description: string,
): z.ZodPrefault<Schema> {
  return schema.prefault(value as never).meta({ description });
}

function isProblem(result: unknown): result is { readonly problem: string } {
  return typeof result === 'object' && result !== null && 'problem' in result;
}
