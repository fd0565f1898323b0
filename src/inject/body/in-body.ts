import { randomUUID } from 'node:crypto';
import type { InjectPlan } from '../../grants/provider.ts';
import { jsonType, mediaTypeOf } from '../../policy/media-type.ts';
import type { Carrier } from '../carrier.ts';
import { factsOf } from '../carrier.ts';
import { refused } from '../refused.ts';
import { SidekeyError } from '../../errors.ts';
import { withParameter } from './form-parameter.ts';
import { withMember, type Rewritten } from './json-member.ts';

/** The plans whose credential stands in the body. */
export type BodyPlanned = Extract<InjectPlan, { kind: 'json' | 'form' }>;

/** A token that is a value of the body, which is known whole. */
export function inBody(plan: BodyPlanned, token: string): Carrier {
  return {
    fields: [],
    into: (request) => {
      const { body, hasBody } = factsOf(request);
      assertTakes({ fields: request.fields, hasBody }, plan);
      if (body === null) throw new SidekeyError('internal', 'The body was not read.');
      return { body: bodyWith(body, plan, token) };
    },
  };
}

/**
 * Sees by its head whether the body of a request may be one that a credential can be written into.
 *
 * @throws SidekeyError `policy_violation`: it is not
 */
export function assertTakes(
  { fields, hasBody }: { readonly fields: readonly string[]; readonly hasBody: boolean },
  plan: BodyPlanned,
): void {
  const { what, type, name } = wordsOf(plan);
  const hint = `send ${what} with Content-Type: ${type}; Sidekey writes ${name} into it`;
  if (!hasBody) {
    throw refused(`The credential of this grant stands in the body, and the request has none.`, hint);
  }
  const codings = valuesOf(fields, 'content-encoding').join(', ').trim().toLowerCase();
  if (codings !== '' && codings !== 'identity') {
    throw refused(
      'The credential of this grant stands in the body, and that of the request is compressed.',
      'send it without Content-Encoding',
    );
  }
  const types = valuesOf(fields, 'content-type');
  const [written = null] = types;
  const found = types.length > 1 ? null : mediaTypeOf(written);
  const fits = plan.kind === 'json' ? jsonType.test(found ?? '') : found === type;
  if (!fits)
    throw refused(`The credential of this grant stands in ${what}, and the request has another body.`, hint);
}

/** A body with room for the credential. */
interface Opened {
  readonly plan: BodyPlanned;
  readonly before: Buffer;
  readonly after: Buffer;
}

/** Bodies are read once, though they are checked long before a credential is written into them. */
const openedBodies = new WeakMap<Buffer, Opened>();

/** @throws SidekeyError `policy_violation`: the credential cannot be written into it */
export function bodyWith(body: Buffer, plan: BodyPlanned, token: string): Buffer {
  const known = openedBodies.get(body);
  const opened = known?.plan === plan ? known : open(body, plan);
  openedBodies.set(body, opened);
  return Buffer.concat([opened.before, Buffer.from(written(token, plan)), opened.after]);
}

function written(value: string, { kind }: BodyPlanned): string {
  return kind === 'json' ? JSON.stringify(value) : encodeURIComponent(value);
}

function open(body: Buffer, plan: BodyPlanned): Opened {
  // Nobody knows it, so it is there once.
  const mark = randomUUID();
  const rewritten = plan.kind === 'json' ? json(body, plan.path, mark) : form(body, plan.name, mark);
  if (Buffer.isBuffer(rewritten)) {
    const room = Buffer.from(written(mark, plan));
    const at = rewritten.indexOf(room);
    return { plan, before: rewritten.subarray(0, at), after: rewritten.subarray(at + room.length) };
  }
  const { what, name } = wordsOf(plan);
  throw refused(
    `The credential of this grant stands in the body, and that of the request ${rewritten.problem}.`,
    `send ${what} that can be read in one way alone; Sidekey writes ${name} into it`,
  );
}

type Problem = Extract<Rewritten, { problem: string }>;

function json(body: Buffer, path: readonly string[], token: string): Buffer | Problem {
  let text: string;
  try {
    // What begins with a byte order mark is JSON to some alone (RFC 8259 §8.1).
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return { problem: 'is no UTF-8' };
  }
  const rewritten = withMember(text, path, token);
  return 'problem' in rewritten ? rewritten : Buffer.from(rewritten.text);
}

/** Byte by byte, whatever the characters are. */
function form(body: Buffer, name: string, token: string): Buffer | Problem {
  const rewritten = withParameter(body.toString('latin1'), name, token);
  return 'problem' in rewritten ? rewritten : Buffer.from(rewritten.text, 'latin1');
}

function wordsOf(plan: BodyPlanned): { readonly what: string; readonly type: string; readonly name: string } {
  return plan.kind === 'json'
    ? { what: 'a JSON object', type: 'application/json', name: plan.path.join('/') }
    : { what: 'a form', type: 'application/x-www-form-urlencoded', name: plan.name };
}

function valuesOf(fields: readonly string[], name: string): string[] {
  return fields.filter((_, index) => index % 2 === 1 && fields[index - 1]!.toLowerCase() === name);
}
