import type { AuditEvent, AuditLog } from '../../domain/event.ts';
import type { Grant } from '../../domain/grant.ts';
import type { Provider } from '../../domain/provider.ts';
import { type RawFields, valuesOf, withoutFields } from '../http/fields.ts';
import { readAhead, type Reply } from '../http/message.ts';
import { contentCodings, decodedBody } from '../../lib/content-coding.ts';
import type { SidekeyError } from '../../lib/errors.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import { urlOfToken } from '../schemes/sigv4/eks.ts';
import {
  agentHolder,
  anyone,
  basicPair,
  type FoundCode,
  type Holder,
  leaseHolder,
  type PlaceholderCodes,
  placeholdersOf,
} from './codes.ts';
import { findIn, PlaceholderScanner } from './stream.ts';
import {
  type BodySyntax,
  type DetectedPlaceholders,
  foreign,
  misplaced,
  notFor,
  type PlaceholdersInBody,
  tooLate,
} from './substitute.ts';

/** Placeholders in the fields of a request: nearly always none. */
export interface PlaceholdersInFields {
  /** Placeholders in other fields than `Authorization`. Services repeat some, such as `X-Request-Id`. */
  readonly inOtherFields: readonly FoundCode[];
  readonly all: readonly FoundCode[];
}

/** Placeholders in the head of a request. */
export interface PlaceholdersInHead extends PlaceholdersInFields {
  readonly inTarget: readonly FoundCode[];
}

const noCodes: readonly FoundCode[] = [];
const noneInFields: PlaceholdersInFields = { inOtherFields: noCodes, all: noCodes };
const noneInHead: PlaceholdersInHead = { inTarget: noCodes, ...noneInFields };

/** Finds the placeholders in the target of a request, and adds those in its fields. */
export function placeholdersInHead(
  target: string,
  inFields: PlaceholdersInFields,
  codes: Pick<PlaceholderCodes, 'find'>,
): PlaceholdersInHead {
  const inTarget = codes.find(target);
  if (inTarget.length === 0 && inFields === noneInFields) return noneInHead;
  const { inOtherFields, all } = inFields;
  return { inTarget, inOtherFields, all: [...inTarget, ...all] };
}

/** Finds the placeholders in the fields of a request. */
export function placeholdersInFields(
  fields: RawFields,
  codes: Pick<PlaceholderCodes, 'find'>,
): PlaceholdersInFields {
  let all: readonly FoundCode[] = noCodes;
  let inOtherFields: readonly FoundCode[] = noCodes;
  for (let i = 0; i < fields.length; i += 2) {
    const value = fields[i + 1]!;
    const isOther = !(fields[i]!.length === 13 && fields[i]!.toLowerCase() === 'authorization');
    const fieldCodes = codes.find(isOther ? value : (basicPair(value) ?? urlOfToken(value) ?? value));
    if (fieldCodes.length === 0) continue;
    all = [...all, ...fieldCodes];
    if (isOther) inOtherFields = [...inOtherFields, ...fieldCodes];
  }
  return all.length === 0 ? noneInFields : { inOtherFields, all };
}

/** The identity that holds placeholders. */
interface PlaceholderCaller {
  /** Name of the agent; null: the caller has no token. */
  readonly agent: string | null;
  readonly lease: { readonly id: string } | null;
}

/** Returns the names under which a caller holds placeholders. */
export function holdersOf({ agent, lease }: PlaceholderCaller): readonly Holder[] {
  if (agent === null) return [anyone];
  return lease === null ? [agentHolder(agent)] : [leaseHolder(lease.id), agentHolder(agent)];
}

/** Returns the name under which a caller gets placeholders that outlast its lease. */
export function holderOf({ agent }: Pick<PlaceholderCaller, 'agent'>): Holder {
  return agent === null ? anyone : agentHolder(agent);
}

/** Returns a predicate: whether one of the detected placeholders is the caller's placeholder of a grant. */
export function showsGrant(
  shown: readonly FoundCode[],
  caller: PlaceholderCaller,
  codes: Pick<PlaceholderCodes, 'isOf'>,
): (grant: Pick<Grant, 'id'>) => boolean {
  return ({ id }) => holdersOf(caller).some((holder) => shown.some((found) => codes.isOf(found, holder, id)));
}

/** A request whose placeholders are detected. */
interface ScannedRequest {
  readonly authority: Authority;
  readonly caller: PlaceholderCaller;
  readonly config: { readonly limits: { readonly placeholder_body_bytes: number } };
  /** The grants that the domain offers; null: it offers no grant. */
  readonly candidates: { readonly candidates: readonly Pick<Grant, 'id'>[] } | null;
  /** Placeholders in the head. */
  readonly placeholders: PlaceholdersInHead;
  /** Null: the request has no credential. */
  readonly grant: Grant | null;
  /** Additional grants. Their placeholders may appear where their credentials are injected. */
  readonly also: readonly { readonly grant: Pick<Grant, 'id'> }[];
  /** The provider of the selected grant. */
  readonly provider: Provider | undefined;
  fields: RawFields;
  readonly framing: { readonly kind: string };
  body: AsyncIterableIterator<Buffer> | null;
  /** Set if another scheme has read the body. */
  readonly bodyHash: string | null;
  readonly wholeBody: Buffer | null;
  detected: DetectedPlaceholders | null;
  readonly reply: Pick<Reply, 'continue'>;
  readonly services: { readonly placeholders: PlaceholderCodes; readonly audit: Pick<AuditLog, 'note'> };
  readonly record: { unexpectedPlaceholder(): AuditEvent };
}

/** @throws SidekeyError `placeholder_misused`: a placeholder in the head is not replaced there */
export function refuseUnexpectedInHead(request: ScannedRequest): void {
  const { authority, caller, candidates, placeholders, grant, also, services } = request;
  // A placeholder of another offered grant may stand in a field that the scheme writes.
  const { all } = placeholders;
  if (all.length === 0) return;
  const offered =
    grant === null ? [] : [grant, ...also.map((each) => each.grant), ...(candidates?.candidates ?? [])];
  for (const found of all)
    if (!offered.some(showsGrant([found], caller, services.placeholders)))
      throw notFor(authorityText(authority));
}

/**
 * Sets the detected placeholders of a request.
 *
 * @throws SidekeyError `placeholder_misused`: a placeholder in the body is refused; `bad_request`: the client
 * disconnected within its body
 */
export function detectPlaceholders(request: ScannedRequest): void | Promise<void> {
  const hasNone = request.body === null && request.placeholders.all.length === 0;
  if (hasNone && (request.grant === null || request.provider?.placeholders.includes('websocket') !== true))
    return undefined;
  return scan(request);
}

async function scan(request: ScannedRequest): Promise<void> {
  const { caller, config, placeholders: inHead, grant, record } = request;
  const { placeholders: codes, audit } = request.services;
  const provider = grant === null ? undefined : request.provider;
  const places = provider?.placeholders ?? [];
  const isOwn = (found: FoundCode) => grant !== null && showsGrant([found], caller, codes)(grant);
  const whyNot = (found: readonly FoundCode[]): SidekeyError | null => {
    const isForeign = found.some((each) => !isOwn(each));
    if (!isForeign && places.includes('body')) return null;
    if (provider?.unexpectedPlaceholders === 'pass') {
      audit.note(record.unexpectedPlaceholder());
      return null;
    }
    if (grant === null) return notFor(authorityText(request.authority));
    return isForeign ? foreign('the body') : misplaced('body', 'the body');
  };
  const options = { codes, whyNot, max: config.limits.placeholder_body_bytes };
  const shown = await scanBody(request, options, places.includes('body'));
  if (grant === null || provider === undefined) return;
  if (inHead.all.length === 0 && shown === null && !places.includes('websocket')) return;
  const texts = () => placeholdersOf({ holders: holdersOf(caller), grant: grant.id }, provider, codes);
  const mayBeInTarget = places.includes('path') || places.includes('query');
  const inContent =
    shown !== null ||
    (mayBeInTarget && inHead.inTarget.length > 0) ||
    (places.includes('header') && inHead.inOtherFields.length > 0);
  request.detected = { texts, places, codes, inContent, body: shown };
}

/** Reads a body ahead to a limit, and returns the placeholders in it. @throws as `readAhead` */
export async function placeholdersInBody(
  request: Pick<ScannedRequest, 'body' | 'config' | 'services'>,
): Promise<readonly FoundCode[]> {
  const { bytes, body } = await readAhead(request.body, request.config.limits.placeholder_body_bytes);
  request.body = body;
  return findIn(bytes, request.services.placeholders);
}

/** Codes, rule and limit that a body is scanned with. */
interface ScanOptions {
  readonly codes: PlaceholderCodes;
  /** Returns the refusal of detected placeholders; null: they are allowed. */
  readonly whyNot: (found: readonly FoundCode[]) => SidekeyError | null;
  /** Maximum bytes that are read ahead. */
  readonly max: number;
}

/**
 * Finds placeholders in a body: while it streams, or ahead to a limit if the credential may replace them.
 * Returns those to replace; null: nothing is replaced.
 *
 * @throws SidekeyError the refusal; `bad_request`: the client disconnected within it
 */
async function scanBody(
  request: ScannedRequest,
  options: ScanOptions,
  isWritten: boolean,
): Promise<PlaceholdersInBody | null> {
  const { body, framing, fields, bodyHash, wholeBody, reply } = request;
  // A scheme that has read the body writes it.
  const isTaken = bodyHash !== null || wholeBody !== null;
  const syntax = body === null || isTaken ? null : syntaxOf(fields);
  if (body === null || syntax === null) return null;
  const codings = valuesOf(fields, 'content-encoding');
  const isCoded = contentCodings(codings).length > 0;
  if (isCoded && (!isWritten || framing.kind === 'chunked')) return null;
  if (!isWritten) {
    request.body = watched(body, options);
    return null;
  }
  // It may be a conversation, so reading ahead could wait forever.
  if (framing.kind === 'chunked') return { syntax, whole: null };
  reply.continue();
  const read = await readAhead(body, options.max);
  request.body = read.body;
  const limit = { name: 'placeholder_body_bytes', bytes: options.max } as const;
  const plain = isCoded ? decodedBody(read.bytes, codings, limit) : read.bytes;
  if (!Buffer.isBuffer(plain)) return null;
  const bodyCodes = findIn(plain, options.codes);
  const wrong = bodyCodes.length === 0 ? null : options.whyNot(bodyCodes);
  if (wrong !== null) throw wrong;
  // The body with the credential is sent without its codings.
  if (isCoded && bodyCodes.length > 0)
    request.fields = withoutFields(fields, (name) => name === 'content-encoding');
  if (bodyCodes.length > 0) return { syntax, whole: read.isWhole ? plain : null };
  if (!read.isWhole && read.body !== null)
    request.body = watched(read.body, { ...options, whyNot: () => tooLate(options.max) });
  return null;
}

/** Fails at a refused placeholder, before the upstream has the whole body. */
async function* watched(
  body: AsyncIterable<Buffer>,
  { codes, whyNot }: Pick<ScanOptions, 'codes' | 'whyNot'>,
): AsyncGenerator<Buffer> {
  const scanner = new PlaceholderScanner(codes);
  for await (const piece of body) {
    const pieceCodes = scanner.push(piece);
    const wrong = pieceCodes.length === 0 ? null : whyNot(pieceCodes);
    if (wrong !== null) throw wrong;
    yield piece;
  }
}

/** Returns the syntax of a body; null: it is not scanned. */
export function syntaxOf(fields: RawFields): BodySyntax | null {
  const [type = ''] = (valuesOf(fields, 'content-type')[0] ?? '').split(';', 1);
  const media = type.trim().toLowerCase();
  if (media.endsWith('/json') || media.endsWith('+json')) return 'json';
  if (media === 'application/x-www-form-urlencoded') return 'form';
  return media === 'multipart/form-data' || media === 'text/plain' ? 'plain' : null;
}
