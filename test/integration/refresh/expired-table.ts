import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';

/**
 * Outcome of a request to an API that sends the answer of a row for the first token, and 200 `ok` for renewed
 * ones.
 *
 * - `renewed`: the request is sent twice, and the client gets `ok`.
 * - `forwarded`: the client gets the answer, and no token is renewed.
 * - `repeated once`: the API answers every token so: the request is sent twice, and the client gets the
 *   answer.
 * - `next`: the client gets the answer; the token is renewed for the next request.
 */
export type Outcome = 'renewed' | 'forwarded' | 'repeated once' | 'next';

export interface Row {
  readonly name: string;
  /** `expired` of the provider; absent: none. */
  readonly expired?: unknown;
  readonly method?: string;
  /** Body of the request. */
  readonly sent?: string;
  readonly status: number;
  readonly fields?: Readonly<Record<string, string>>;
  /** Body of the answer: JSON unless it is a text or bytes. */
  readonly body?: unknown;
  readonly outcome: Outcome;
}

const plain = (text: string) => ({ 'content-type': text });
const challenge = (text: string) => ({ 'www-authenticate': text });

const slack = { status: 200, field: 'error', value: 'token_expired' };
const slackAnswer = { ok: false, error: 'token_expired' };
const long = 'x'.repeat(9_000);
const longAnswer = JSON.stringify({ ...slackAnswer, a: long });

/** Challenges, without `expired` of a provider. */
const challenges: readonly Row[] = [
  { name: '401', status: 401, outcome: 'renewed' },
  { name: '403', status: 403, outcome: 'forwarded' },
  { name: '403 invalid_token', status: 403, fields: challenge('Bearer realm="a", error="invalid_token"'), outcome: 'renewed' },
  { name: '400 invalid_token', status: 400, fields: challenge('Bearer error="invalid_token"'), outcome: 'renewed' },
  { name: 'a challenge without quotes', status: 403, fields: challenge('bearer error=invalid_token'), outcome: 'renewed' },
  { name: 'a second challenge', status: 403, fields: challenge('Basic realm="a", Bearer error="invalid_token"'), outcome: 'renewed' },
  { name: 'a DPoP challenge', status: 403, fields: challenge('DPoP error="invalid_token"'), outcome: 'renewed' },
  { name: 'a HEAD request', method: 'HEAD', status: 403, fields: challenge('Bearer error="invalid_token"'), outcome: 'renewed' },
  { name: 'insufficient_scope', status: 403, fields: challenge('Bearer error="insufficient_scope"'), outcome: 'forwarded' },
  { name: 'invalid_request', status: 400, fields: challenge('Bearer error="invalid_request"'), outcome: 'forwarded' },
  { name: 'another scheme', status: 403, fields: challenge('Token error="invalid_token"'), outcome: 'forwarded' },
  { name: 'invalid_token in a description', status: 403, fields: challenge('Bearer error_description="invalid_token"'), outcome: 'forwarded' },
  { name: 'invalid_token with 200', status: 200, fields: challenge('Bearer error="invalid_token"'), outcome: 'forwarded' },
  { name: 'invalid_token with 503', status: 503, fields: challenge('Bearer error="invalid_token"'), outcome: 'forwarded' },
  { name: 'a 403 for every token', status: 403, fields: challenge('Bearer error="invalid_token"'), outcome: 'repeated once' },
  { name: 'a request body too long to keep', method: 'POST', sent: long, status: 403, fields: challenge('Bearer error="invalid_token"'), outcome: 'next' },
  { name: 'a short request body', method: 'POST', sent: '{"a":1}', status: 403, fields: challenge('Bearer error="invalid_token"'), outcome: 'renewed' },
  { name: 'a code in the body, but no entry for it', status: 200, body: slackAnswer, outcome: 'forwarded' },
]; // prettier-ignore

/** Answers of services, with the entry of the catalog or of a company's own provider. */
const services: readonly Row[] = [
  { name: 'Slack', expired: slack, status: 200, body: slackAnswer, outcome: 'renewed' },
  { name: 'Slack, another error', expired: slack, status: 200, body: { ok: false, error: 'not_in_channel' }, outcome: 'forwarded' },
  { name: 'Slack, success', expired: slack, status: 200, body: { ok: true, error: null }, outcome: 'forwarded' },
  { name: 'Slack, a POST', expired: slack, method: 'POST', sent: '{"text":"hi"}', status: 200, body: slackAnswer, outcome: 'renewed' },
  { name: 'Google', expired: { status: 403, field: 'error.details.reason', value: 'ACCESS_TOKEN_EXPIRED' }, status: 403, body: { error: { code: 403, details: [{ '@type': 'a' }, { reason: 'ACCESS_TOKEN_EXPIRED' }] } }, outcome: 'renewed' },
  { name: 'Feishu', expired: { status: [200, 400], field: 'code', value: [99991663, 99991677] }, status: 400, body: { code: 99991677, msg: 'expired' }, outcome: 'renewed' },
  { name: 'Feishu, a similar code', expired: { status: [200, 400], field: 'code', value: [99991663, 99991677] }, status: 400, body: { code: 9999167, msg: 'expired' }, outcome: 'forwarded' },
  { name: 'Salesforce', expired: { status: [400, 403], field: 'errorCode', value: 'INVALID_SESSION_ID' }, status: 403, body: [{ message: 'Session expired', errorCode: 'INVALID_SESSION_ID' }], outcome: 'renewed' },
  { name: 'ArcGIS', expired: { status: 200, field: 'error.code', value: [498, 499] }, status: 200, fields: plain('text/plain;charset=utf-8'), body: { error: { code: 498, message: 'Invalid token.' } }, outcome: 'renewed' },
  { name: 'Dropbox', expired: { status: 400, field: 'error.tag', value: 'expired_access_token' }, status: 400, body: { error: { tag: 'expired_access_token' } }, outcome: 'renewed' },
  { name: 'Vercel', expired: { status: 403, field: 'error.invalidToken', value: true }, status: 403, body: { error: { code: 'forbidden', invalidToken: true } }, outcome: 'renewed' },
  { name: 'Figma', expired: { status: 403, field: 'err', value: ['Token expired', 'Invalid token'] }, status: 403, body: { status: 403, err: 'Token expired' }, outcome: 'renewed' },
  { name: 'Azure Log Analytics', expired: { status: 403, field: 'error.innererror.message', value: '*TokenExpired' }, status: 403, body: { error: { innererror: { message: 'Challenge failed: TokenExpired' } } }, outcome: 'renewed' },
  { name: 'AWS, a field', expired: { status: [400, 403], header: 'X-Amzn-ErrorType', value: 'ExpiredToken*' }, status: 403, fields: { 'x-amzn-errortype': 'ExpiredTokenException:http://internal.amazon.com/' }, outcome: 'renewed' },
  { name: 'AWS, a body', expired: { status: [400, 403], field: '__type', value: '*ExpiredTokenException' }, status: 400, fields: plain('application/x-amz-json-1.1'), body: { __type: 'com.amazon.coral.service#ExpiredTokenException' }, outcome: 'renewed' },
  { name: 'GraphQL', expired: { status: 200, field: 'errors.extensions.code', value: 'UNAUTHENTICATED' }, method: 'POST', sent: '{"query":"{me}"}', status: 200, body: { data: null, errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] }, outcome: 'renewed' },
  { name: 'gRPC without a message', expired: { status: 200, header: 'grpc-status', value: 16 }, status: 200, fields: { 'grpc-status': '16', ...plain('application/grpc') }, outcome: 'renewed' },
  { name: 'problem details', expired: { status: 400, field: 'type', value: '*/token-expired' }, status: 400, fields: plain('application/problem+json'), body: { type: 'https://a.test/token-expired' }, outcome: 'renewed' },
  { name: '498', expired: { status: [498, 419] }, status: 498, outcome: 'renewed' },
  { name: '419', expired: { status: [498, 419] }, status: 419, outcome: 'renewed' },
  { name: '419 is not in the entry', expired: { status: 498 }, status: 419, outcome: 'forwarded' },
  { name: 'the second of two entries', expired: [{ status: 498 }, slack], status: 200, body: slackAnswer, outcome: 'renewed' },
  { name: 'a field of the second line', expired: { status: 400, header: 'x-error', value: 'expired' }, status: 400, fields: { 'x-error': 'expired' }, outcome: 'renewed' },
  { name: 'a field with another value', expired: { status: 400, header: 'x-error', value: 'expired' }, status: 400, fields: { 'x-error': 'expired_soon' }, outcome: 'forwarded' },
  { name: 'a field with another status', expired: { status: 400, header: 'x-error', value: 'expired' }, status: 403, fields: { 'x-error': 'expired' }, outcome: 'forwarded' },
  { name: 'an answer for every token', expired: slack, status: 200, body: slackAnswer, outcome: 'repeated once' },
  { name: 'an entry, and a request body too long to keep', expired: slack, method: 'POST', sent: long, status: 200, body: slackAnswer, outcome: 'next' },
]; // prettier-ignore

/** Bodies that are read, and bodies that are forwarded unread. */
const bodies: readonly Row[] = [
  { name: 'another status', expired: slack, status: 201, body: slackAnswer, outcome: 'forwarded' },
  { name: 'a body of gzip', expired: slack, status: 200, fields: { 'content-encoding': 'gzip' }, body: gzipSync(JSON.stringify(slackAnswer)), outcome: 'renewed' },
  { name: 'a body of deflate', expired: slack, status: 200, fields: { 'content-encoding': 'deflate' }, body: deflateSync(JSON.stringify(slackAnswer)), outcome: 'renewed' },
  { name: 'a body of br', expired: slack, status: 200, fields: { 'content-encoding': 'br' }, body: brotliCompressSync(JSON.stringify(slackAnswer)), outcome: 'renewed' },
  { name: 'a body of zstd', expired: slack, status: 200, fields: { 'content-encoding': 'zstd' }, body: zstdCompressSync(JSON.stringify(slackAnswer)), outcome: 'renewed' },
  { name: 'a body of an unknown coding', expired: slack, status: 200, fields: { 'content-encoding': 'x-own' }, body: slackAnswer, outcome: 'forwarded' },
  { name: 'a body of two codings', expired: slack, status: 200, fields: { 'content-encoding': 'gzip, gzip' }, body: gzipSync(gzipSync(JSON.stringify(slackAnswer))), outcome: 'renewed' },
  { name: 'a body of four codings', expired: slack, status: 200, fields: { 'content-encoding': 'gzip, gzip, gzip, gzip' }, body: gzipSync(gzipSync(gzipSync(gzipSync(JSON.stringify(slackAnswer))))), outcome: 'forwarded' },
  { name: 'a compressed body without its coding', expired: slack, status: 200, body: gzipSync(JSON.stringify(slackAnswer)), outcome: 'forwarded' },
  { name: 'two gzip members', expired: slack, status: 200, fields: { 'content-encoding': 'gzip' }, body: Buffer.concat([gzipSync(JSON.stringify(slackAnswer)), gzipSync(' ')]), outcome: 'forwarded' },
  { name: 'a body that is no gzip', expired: slack, status: 200, fields: { 'content-encoding': 'gzip' }, body: slackAnswer, outcome: 'forwarded' },
  { name: 'a body that inflates beyond the bound', expired: slack, status: 200, fields: { 'content-encoding': 'gzip' }, body: gzipSync(JSON.stringify({ ...slackAnswer, a: 'x'.repeat(1_000_000) })), outcome: 'forwarded' },
  { name: 'an announced long body', expired: slack, status: 200, fields: { 'content-length': String(longAnswer.length) }, body: longAnswer, outcome: 'forwarded' },
  { name: 'a long body of unknown length', expired: slack, status: 200, body: longAnswer, outcome: 'forwarded' },
  { name: 'a byte order mark', expired: slack, status: 200, body: Buffer.from(`\ufeff${JSON.stringify(slackAnswer)}`), outcome: 'renewed' },
  { name: 'blanks before the body', expired: slack, status: 200, body: ` \r\n${JSON.stringify(slackAnswer)}\n`, outcome: 'renewed' },
  { name: 'a charset', expired: slack, status: 200, fields: plain('application/json; charset=iso-8859-1'), body: slackAnswer, outcome: 'renewed' },
  { name: 'a type in capitals', expired: slack, status: 200, fields: plain('Application/JSON'), body: slackAnswer, outcome: 'renewed' },
  { name: 'JavaScript', expired: slack, status: 200, fields: plain('text/javascript; charset=UTF-8'), body: slackAnswer, outcome: 'renewed' },
  { name: 'events', expired: slack, status: 200, fields: plain('text/event-stream'), body: `data: ${JSON.stringify(slackAnswer)}\n\n`, outcome: 'forwarded' },
  { name: 'lines of JSON', expired: slack, status: 200, fields: plain('application/x-ndjson'), body: `${JSON.stringify(slackAnswer)}\n`, outcome: 'forwarded' },
  { name: 'two JSON texts', expired: slack, status: 200, body: `${JSON.stringify(slackAnswer)}\n`.repeat(2), outcome: 'forwarded' },
  { name: 'HTML', expired: slack, status: 200, fields: plain('text/html'), body: slackAnswer, outcome: 'forwarded' },
  { name: 'no type', expired: slack, status: 200, fields: plain(''), body: slackAnswer, outcome: 'forwarded' },
  { name: 'plain text', expired: slack, status: 200, fields: plain('text/plain'), body: 'error: token_expired', outcome: 'forwarded' },
  { name: 'an empty body', expired: slack, status: 200, body: '', outcome: 'forwarded' },
  { name: 'a HEAD request and an entry for bodies', expired: slack, method: 'HEAD', status: 200, body: slackAnswer, outcome: 'forwarded' },
  { name: 'a 204', expired: { ...slack, status: 204 }, status: 204, body: '', outcome: 'forwarded' },
  { name: 'a part of a resource', expired: { ...slack, status: 206 }, status: 206, body: slackAnswer, outcome: 'forwarded' },
  { name: 'a member of that name elsewhere', expired: slack, status: 200, body: { data: slackAnswer }, outcome: 'forwarded' },
  { name: 'an object in place of the value', expired: slack, status: 200, body: { error: { token_expired: 1 } }, outcome: 'forwarded' },
  { name: 'null in place of the value', expired: { ...slack, value: '*' }, status: 200, body: { ok: true, error: null }, outcome: 'forwarded' },
  { name: 'a member of every object', expired: { status: 200, field: 'constructor', value: '*' }, status: 200, body: {}, outcome: 'forwarded' },
  { name: 'deep lists', expired: slack, status: 200, body: '['.repeat(4_000) + ']'.repeat(4_000), outcome: 'forwarded' },
  { name: 'invalid JSON', expired: slack, status: 200, body: '{"error":"token_expired"', outcome: 'forwarded' },
]; // prettier-ignore

export const rows: readonly Row[] = [...challenges, ...services, ...bodies];
