import { longestBody } from '../domain/approval.ts';
import { plainRequest, valuesOf, withoutFields } from './http/fields.ts';
import { readAhead } from './http/message.ts';
import { type BodyLimit, decodedBody, tooLongFor, type UnreadableBody } from '../lib/content-coding.ts';
import { SidekeyError } from '../lib/errors.ts';
import { foreignInBody, foreignInQuery, type KnownForms } from './placeholders/foreign-forms.ts';
import type { ForeignCredentials } from './policy/domain-map.ts';
import { mayCallTool } from './policy/tools.ts';
import { schemeOf } from './schemes/placement.ts';
import type { BodyNeed } from './schemes/scheme.ts';
import { sha256 } from './schemes/sigv4/signature.ts';
import { isTokenEndpoint } from './login-grant.ts';
import { mintsOf } from './mint.ts';
import { bringsOwn, isGranted, type Request } from './request.ts';

/** Stages that prepare the message to send, before there is a credential. */

/**
 * Sets the message to send. If the request waits for a person, reads its body to the end, so that a client
 * that leaves is noticed.
 *
 * @throws SidekeyError `body_too_large`; `bad_request`: the client left in the body
 */
export function prepare(request: Request): void | Promise<void> {
  const { inbound, target, plan, decision } = request;
  const { protocols } = inbound;
  const endToEnd = plan.forwarded(inbound.head, target.authority);
  const fields = protocols === undefined ? endToEnd : [...endToEnd, 'Upgrade', protocols.join(', ')];
  request.path = target.path;
  request.isListed = listedTools(request);
  request.mints = mintsOf(request);
  const isRead = request.isListed !== undefined || request.mints !== undefined;
  request.fields = isRead ? plainRequest(fields) : fields;
  // An answer without a body would let the client use one that it has from before.
  if (request.mints !== undefined)
    request.fields = withoutFields(request.fields, (name) => conditions.has(name));
  if (decision.outcome !== 'approve' || request.body === null) return undefined;
  request.reply.continue();
  return readForPerson(request);
}

const conditions: ReadonlySet<string> = new Set([
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
]);

function plainBody({ fields }: Request, bytes: Buffer, limit: BodyLimit): Buffer | UnreadableBody {
  return decodedBody(bytes, valuesOf(fields, 'content-encoding'), limit);
}

async function readForPerson(request: Request): Promise<void> {
  const most = request.config.limits.approval_body_bytes;
  const { bytes, isWhole, body } = await readAhead(request.body, most);
  if (!isWhole || bytes.length > most) {
    const sentence = `A request body that waits for approval has at most ${most} bytes.`;
    const hint = 'send less, or raise limits.approval_body_bytes';
    throw new SidekeyError('body_too_large', sentence, { hint });
  }
  request.body = body;
  const shown = plainBody(request, bytes, { name: 'approval_body_bytes', bytes: longestBody });
  if (Buffer.isBuffer(shown) && shown.length <= longestBody) request.askedBody = shown;
}

/**
 * Returns the test of tools for a request of `tools/list`, and for a `GET`, whose stream may have the answer.
 * Undefined for any other request, and if rules limit no tools.
 */
function listedTools({ bodyFacts, config, facts }: Request): Request['isListed'] {
  const isAsked = bodyFacts?.jsonrpc?.some(({ method }) => method === 'tools/list');
  if (facts.method !== 'GET' && isAsked !== true) return undefined;
  const domain = config.policy.domains.match(facts.authority);
  if (domain === null) return undefined;
  const { rules, additionalRules = [] } = domain;
  const sets = rules === undefined ? additionalRules : [rules, ...additionalRules];
  if (!sets.some(({ limitsTools }) => limitsTools)) return undefined;
  return (tool) => sets.every((set) => mayCallTool(set, facts, tool));
}

/** Reports whether a request is for the token endpoint of its grant's provider (RFC 6749 §3.2). */
export function isTokenRequest(request: Request): boolean {
  const { grant, provider, login } = request;
  if (login !== null) return true;
  if (grant === null || provider === undefined) return false;
  // Some servers answer a GET there, too.
  return (request.method === 'POST' || provider.capturesLogins) && isTokenEndpoint(request, provider);
}

/** Records, removes or refuses additional credentials of the client, as the domain configures. */
export function guardForeign(request: Request): void | Promise<void> {
  if (!isGranted(request) || bringsOwn(request)) return undefined;
  const { config, services, record, plan, path, body } = request;
  const setting = request.decision.foreignCredentials;
  const forms = { finder: config.credentialFinder(), codes: services.placeholders };
  const fields = plan.foreign(request.fields, forms);
  const query = path.includes('?') ? foreignInQuery(path, forms) : { found: [], kept: path };
  if (fields.found.length > 0 || query.found.length > 0) {
    const places = [...fields.found, ...query.found];
    record.foreign(places);
    if (setting === 'refuse') throw foreign(places);
    if (setting === 'strip') {
      request.fields = fields.kept;
      request.path = query.kept;
    }
  }
  if (setting === undefined || body === null || !isText(request.fieldFacts.contentType)) return undefined;
  return guardBody(request, forms, setting);
}

/** Reports whether services read credentials from bodies of a type. Null: none is given, or several are. */
function isText(contentType: string | null): boolean {
  return contentType === null || /^text\/|^multipart\/|json|xml|graphql|urlencoded/i.test(contentType);
}

async function guardBody(request: Request, forms: KnownForms, setting: ForeignCredentials): Promise<void> {
  const max = request.config.limits.placeholder_body_bytes;
  const isRecorded = setting === 'record';
  request.reply.continue();
  const read = await readAhead(request.body, max);
  request.body = read.body;
  const limit = { name: 'placeholder_body_bytes', bytes: max } as const;
  const plain = read.isWhole || isRecorded ? plainBody(request, read.bytes, limit) : tooLongFor(limit);
  if (!Buffer.isBuffer(plain)) {
    if (isRecorded) return;
    throw unsearchable(plain);
  }
  const { found, kept } = foreignInBody(plain, forms);
  const isCoded = plain !== read.bytes;
  // A server that ignores Content-Encoding reads what was sent.
  const all = isCoded ? [...found, ...foreignInBody(read.bytes, forms).found] : found;
  if (all.length > 0) request.record.foreign(all);
  if (all.length === 0 || isRecorded) return;
  if (setting === 'refuse' || kept === null || isCoded) throw foreign(all);
  request.fields = withoutFields(request.fields, (name) => digests.has(name));
  request.body = once(kept);
  if (request.askedBody !== null) request.askedBody = kept;
}

const digests: ReadonlySet<string> = new Set(['content-md5', 'digest', 'content-digest', 'repr-digest']);

function foreign(places: readonly string[]): SidekeyError {
  const sentence = `The request has a credential of its own in ${places.join(' and ')}, and foreign_credentials of the domain does not allow that.`;
  return new SidekeyError('foreign_credential', sentence);
}

function unsearchable({ problem, hint, isLong }: UnreadableBody): SidekeyError {
  const sentence = `The request body ${problem}, so it cannot be searched for credentials, which foreign_credentials of the domain requires.`;
  return new SidekeyError(isLong ? 'body_too_large' : 'policy_violation', sentence, { hint });
}

/**
 * Reads the body of a request whose scheme signs it or writes into it.
 *
 * @throws SidekeyError `policy_violation`: the request can never carry the credential; `body_too_large`;
 * `bad_request`: the client left in the middle of the body
 */
export function readForScheme(request: Request): void | Promise<void> {
  const { grant, placement, body, framing } = request;
  if (grant === null || placement === null || placement instanceof SidekeyError || placement.kind === 'own')
    return undefined;
  const need = schemeOf(placement).needs?.(request, placement) ?? null;
  if (need === null || body === null) return undefined;
  const maxBytes = request.config.limits[need.limit];
  // Nothing of a body that announces more is asked for.
  if (framing.kind === 'length' && framing.bytes > maxBytes) throw tooLarge(need, maxBytes);
  request.reply.continue();
  return readBody(request, need, maxBytes);
}

async function readBody(request: Request, need: BodyNeed, maxBytes: number): Promise<void> {
  const { bytes, isWhole, body } = await readAhead(request.body, maxBytes);
  if (!isWhole) throw tooLarge(need, maxBytes);
  if (need.of === 'hash') {
    request.body = body;
    request.bodyHash = sha256(bytes);
    return;
  }
  need.check?.(bytes);
  request.body = once(bytes);
  request.wholeBody = bytes;
}

function tooLarge({ what, limit }: BodyNeed, maxBytes: number): SidekeyError {
  return new SidekeyError('body_too_large', `${what} has at most ${maxBytes} bytes.`, {
    hint: `send less, or raise limits.${limit}`,
  });
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
