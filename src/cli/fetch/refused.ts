import type { IncomingMessage } from 'node:http';
import { failures, SidekeyError, type FailureCode } from '../../errors.ts';
import { jsonObject } from '../../oauth/json-object.ts';

/** A problem document of ours is some hundred bytes. */
const mostBytes = 65_536;

/**
 * The refusal that an answer is; null: it is what the upstream said. No upstream can say `Sidekey-Error`: the proxy takes
 * such fields out.
 */
export async function refusedBy(response: IncomingMessage): Promise<SidekeyError | null> {
  const said = response.headers['sidekey-error'];
  if (said === undefined) return null;
  const code = typeof said === 'string' && Object.hasOwn(failures, said) ? (said as FailureCode) : 'internal';
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > mostBytes) break;
    chunks.push(chunk);
  }
  const problem = jsonObject(Buffer.concat(chunks).toString('utf8'));
  const detail = textOf(problem?.['detail']) ?? `The proxy refused the request (${code}).`;
  const after = response.headers['retry-after'];
  const again = after === undefined ? '' : ` The same may work in ${after} s.`;
  return new SidekeyError(code, `${detail}${again}`, { hint: textOf(problem?.['hint']) ?? undefined });
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
