import { fieldName } from '../domain/approval.ts';
import { type RawFields, readText, trailerFields } from './http/fields.ts';
import { untrusted } from '../lib/text.ts';
import { foreignInFields, type KnownForms } from './placeholders/foreign-forms.ts';
import { FieldNames } from './policy/text.ts';
import { preparedFor } from './schemes/apply.ts';
import type { ObtainedCredential, Request } from './request.ts';

/** Header fields and trailers of a request that a person is asked about. */

/** Fields that are not shown: they frame the message, name the program, or choose a form of the response. */
const common = (
  'host content-length transfer-encoding te trailer user-agent accept accept-charset accept-encoding ' +
  'accept-language cache-control pragma priority traceparent tracestate sec-fetch-dest sec-fetch-mode ' +
  'sec-fetch-site sec-fetch-user sec-websocket-extensions sec-websocket-key sec-websocket-version'
).split(' ');

/** Fields that differ in each request: a standing approval holds for every value, as for hidden ones. */
const varying = /^(?:content-type|idempotency-key|if-(?:none-)?match|x-request-id):/i;

/** Content types of most APIs. */
const commonType = /^application\/(?:json|x-www-form-urlencoded)(?: *; *charset="?utf-8"?)?$/i;

/** Names of fields with secrets of the agent. */
const secret = /authoriz|cookie|credential|dpop|api-?key|password|secret|session|signature|token/i;

/** Returns `NAME: VALUE` of each uncommon field and trailer that is sent. Escapes deceptive characters. */
export function shownFields(
  { fields, inbound: { trailers } }: Pick<Request, 'fields' | 'inbound'>,
  { token, placement, also }: ObtainedCredential,
  forms: KnownForms,
): readonly string[] {
  const others = also.map((each) => preparedFor(each.token.sealed, each.placement).additional);
  const replaced = [preparedFor(token.sealed, placement), ...others].flatMap((each) => [...each.replaced]);
  const unshown = new FieldNames([...common, ...replaced]);
  const linesOf = (part: RawFields, before: string): string[] =>
    part.flatMap((name, index) => {
      const value = part[index + 1] ?? '';
      const isCommon = unshown.has(name) || (name.toLowerCase() === 'content-type' && commonType.test(value));
      if (index % 2 === 1 || isCommon) return [];
      const isSecret = secret.test(name) || foreignInFields([name, value], forms).found.length > 0;
      return [`${before}${name}: ${isSecret ? '(hidden)' : untrusted(readText(value))}`];
    });
  return [...linesOf(fields, ''), ...linesOf(trailerFields(trailers?.() ?? []), '(trailer) ')];
}

/** Returns the part of a shown field that a request must share for a standing approval to apply. */
export function boundPart(field: string): string {
  return varying.test(field) ? fieldName(field).toLowerCase() : field;
}
