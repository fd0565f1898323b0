import { z } from 'zod';

/** Facts about a text of the config file that its schema publishes. */
interface TextMeta {
  /** Its purpose; editors show it. */
  readonly description: string;
  readonly examples?: readonly unknown[];
  /** For editors; `read` checks the text. */
  readonly pattern?: string;
  /** End of the message `must be …` for a value that is no text. */
  readonly kind?: string;
}

/**
 * Schema of a text that `read` turns into a value or into a problem. A problem is the end of a sentence and never
 * repeats the text.
 */
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

function isProblem(result: unknown): result is { readonly problem: string } {
  return typeof result === 'object' && result !== null && 'problem' in result;
}
