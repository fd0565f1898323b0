import { valuesOf, withoutFields } from './http/fields.ts';
import { type InboundRequest, readAhead } from './http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import { foreignInBody, foreignInQuery, type KnownForms } from './placeholders/foreign-forms.ts';
import type { ForeignCredentials } from './policy/domain-map.ts';
import { isGranted } from './authorize.ts';
import type { PreparedExchange, PreparedRequest } from './upstream-request.ts';

/**
 * Records, removes or refuses additional credentials of the client, as the domain configures. Returns the
 * same request if it has none.
 */
export function guardForeign(exchange: PreparedExchange): PreparedRequest | Promise<PreparedRequest> {
  const { prepared, authorized, services, record } = exchange;
  const { placement, config, received } = authorized;
  if (!isGranted(authorized) || (placement !== null && 'kind' in placement && placement.kind === 'own'))
    return prepared;
  const setting = authorized.decision.foreignCredentials;
  const forms = { finder: config.credentialFinder(), codes: services.placeholders };
  const fields = received.plan.foreign(prepared.fields, forms);
  const { path, body } = prepared;
  const query = path.includes('?') ? foreignInQuery(path, forms) : { found: [], kept: path };
  let guarded = prepared;
  if (fields.found.length > 0 || query.found.length > 0) {
    const places = [...fields.found, ...query.found];
    record.foreign(places);
    if (setting === 'refuse') throw foreign(places);
    if (setting === 'strip') guarded = { ...prepared, fields: fields.kept, path: query.kept };
  }
  if (setting === undefined || body === null || !isText(received.fieldFacts.contentType)) return guarded;
  return guardBody(guarded, forms, setting, exchange);
}

/** Reports whether services read credentials from bodies of a type. Null: none is given, or several are. */
function isText(contentType: string | null): boolean {
  return contentType === null || /^text\/|^multipart\/|json|xml|graphql|urlencoded/i.test(contentType);
}

async function guardBody(
  request: PreparedRequest,
  forms: KnownForms,
  setting: ForeignCredentials,
  { authorized: { config }, record, reply }: PreparedExchange,
): Promise<PreparedRequest> {
  const max = config.limits.placeholder_body_bytes;
  const isRecorded = setting === 'record';
  const isCoded = valuesOf(request.fields, 'content-encoding').some((coding) => coding !== 'identity');
  if (isCoded && !isRecorded) throw unsearchable('policy_violation', 'is compressed');
  reply.continue();
  const read = await readAhead(
    request.body![Symbol.asyncIterator]() as NonNullable<InboundRequest['body']>,
    max,
  );
  if (!read.isWhole && !isRecorded) throw unsearchable('body_too_large', `has more than ${max} bytes`);
  const { found, kept } = foreignInBody(read.bytes, forms);
  if (found.length > 0) record.foreign(found);
  if (found.length === 0 || isRecorded) return { ...request, body: read.body };
  if (setting === 'refuse' || kept === null) throw foreign(found);
  return {
    ...request,
    fields: withoutFields(request.fields, (name) => digests.has(name)),
    body: once(kept),
    ...(request.askedBody === undefined ? {} : { askedBody: kept }),
  };
}

const digests: ReadonlySet<string> = new Set(['content-md5', 'digest', 'content-digest', 'repr-digest']);

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

function foreign(places: readonly string[]): SidekeyError {
  const sentence = `The request has a credential of its own in ${places.join(' and ')}, and foreign_credentials of the domain does not allow that.`;
  return new SidekeyError('foreign_credential', sentence);
}

function unsearchable(code: 'policy_violation' | 'body_too_large', why: string): SidekeyError {
  const sentence = `The request body ${why}, so it cannot be searched for credentials, which foreign_credentials of the domain requires.`;
  const hint = 'send it without Content-Encoding, or in parts; or raise limits.placeholder_body_bytes';
  return new SidekeyError(code, sentence, { hint });
}
