import { SidekeyError } from '../../errors.ts';
import type { Injected } from '../../inject/inject.ts';
import { authorityText } from '../../policy/authority.ts';
import { isFieldName } from '../../policy/field.ts';
import type { StreamHead } from '../../upstream/h2/stream.ts';
import { hopByHop, type RawFields } from '../fields.ts';
import type { Departure } from '../forward.ts';
import { isOneLine, ownHead } from '../h1/head-writer.ts';

/** What of a departure a head is made of. */
type Leaving = Pick<Departure, 'authority' | 'method' | 'framing' | 'protocol'>;

/**
 * The head of a request as it is sent in HTTP/1.1, with the fields as they stand.
 *
 * @param isExpecting whether the upstream is asked for a 100 before the body (RFC 9110 §10.1.1)
 * @throws SidekeyError `bad_request` where it would not be one head of one request
 */
export function requestHead(leaving: Leaving, { path, fields }: Injected, isExpecting = false): Buffer {
  checkTarget(path);
  const own = leaving.protocol === 'h2' ? withoutTe(fields) : fields;
  const kept = isExpecting ? [...own, 'Expect', '100-continue'] : own;
  try {
    return ownHead(`${leaving.method} ${path} HTTP/1.1`, kept);
  } catch (cause) {
    throw cannotBeForwarded(cause);
  }
}

/** Fields whose values no compressor is to remember, whoever put them in: others could guess them by its size. */
const secrets = ['authorization', 'cookie'];

/**
 * The head of a request as it opens a stream of HTTP/2 (RFC 9113 §8.3.1).
 *
 * @throws SidekeyError `bad_request` as `requestHead`
 */
export function streamHead(
  { authority, method, framing }: Leaving,
  { path, fields, carriedIn, conceal, reframed }: Injected,
  isExpecting = false,
): StreamHead {
  checkTarget(path);
  const { scheme } = authority;
  const kept = [':method', method, ':scheme', scheme, ':authority', authorityText(authority), ':path', path];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    const value = fields[i + 1]!;
    // `:authority` stands for `Host`, and HTTP/2 has no other fields of one connection (RFC 9113 §8.2.2).
    if (name === 'te' ? value !== 'trailers' : name === 'host' || hopByHop.has(name)) continue;
    if (!isFieldName(name) || !isOneLine(value)) throw cannotBeForwarded();
    kept.push(name, value);
  }
  if (isExpecting) kept.push('expect', '100-continue');
  const neverIndexed = [...secrets, ...(carriedIn ?? []), ...(conceal === undefined ? [] : [':path'])];
  return { fields: kept, neverIndexed, isWhole: (reframed ?? framing).kind === 'none' };
}

/** `TE` is of one connection in HTTP/1.1; to a client of HTTP/2 trailers go on in any case. */
function withoutTe(fields: RawFields): RawFields {
  return fields.filter((_text, index) => fields[index - (index % 2)]!.toLowerCase() !== 'te');
}

function checkTarget(path: string): void {
  // A space would end the target.
  if (!path.startsWith('/') || path.includes(' ') || !isOneLine(path)) throw cannotBeForwarded();
}

function cannotBeForwarded(cause?: unknown): SidekeyError {
  return new SidekeyError('bad_request', 'The request has a field or a target that cannot be forwarded.', {
    cause,
  });
}
