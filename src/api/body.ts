import type { z } from 'zod';
import { readBounded } from '../lib/body.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';

/** Bodies of requests. */

const maxBodyBytes = 1_048_576;

/** Reads a whole body. @throws SidekeyError `body_too_large` */
export async function bodyOf({ body }: Request): Promise<Buffer> {
  if (body === null) return Buffer.alloc(0);
  const read = await readBounded(body, maxBodyBytes);
  if (read !== null) return read;
  throw new SidekeyError('body_too_large', 'The body is larger than 1 MiB.', { hint: 'send less at once' });
}

/** Parses a body, or another part of a request. @throws SidekeyError `input_invalid` */
export function jsonOf(bytes: Buffer, part = 'The body'): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch {
    throw inputInvalid(`${part} is not JSON.`, 'send a JSON object, and Content-Type: application/json');
  }
}

/**
 * Validates a part of a request. The error omits values, which may be secret.
 *
 * @throws SidekeyError `input_invalid` that names the first invalid member
 */
export function checked(schema: z.ZodType, value: unknown, part: string): unknown {
  const result = schema.safeParse(value, { reportInput: false });
  if (result.success) return result.data;
  const { issues } = result.error;
  const [first] = issues;
  const isMissing = first?.code === 'invalid_type' && first.message.endsWith('received undefined');
  // A misspelt member explains a missing one.
  const misspelt = isMissing ? issues.find(({ code }) => code === 'unrecognized_keys') : undefined;
  const issue = misspelt ?? first;
  const place = [part, ...(issue?.path ?? [])].join('.');
  // The key of a record has issues of its own, in our words.
  const problem = issue?.code === 'invalid_key' ? issue.issues[0] : issue;
  const sentence =
    isMissing && misspelt === undefined
      ? `${place} is missing.`
      : `${place}: ${problem?.message ?? 'is not valid'}.`;
  throw inputInvalid(sentence, 'GET /openapi.json describes the request');
}
