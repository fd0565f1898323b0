import type { Grant } from '../../domain/grant.ts';
import type { Provider } from '../../domain/provider.ts';
import { type RawFields, valuesOf } from '../http/fields.ts';
import { readAhead, type Reply } from '../http/message.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
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
    const fieldCodes = codes.find(isOther ? value : (basicPair(value) ?? value));
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
  readonly fields: RawFields;
  readonly framing: { readonly kind: string };
  readonly body: AsyncIterable<Buffer> | null;
  /** Present if another scheme has read the body. */
  readonly bodyHash?: string;
  readonly wholeBody?: Buffer;
  readonly placeholders?: DetectedPlaceholders | undefined;
}

/** The exchange of a request whose placeholders are detected. */
interface ScannedExchange {
  readonly reply: Pick<Reply, 'continue'>;
  passed(): void;
}

/** Caller, grant and config that decide about the placeholders of a request. */
interface PlaceholderContext {
  readonly caller: PlaceholderCaller;
  readonly config: { readonly limits: { readonly placeholder_body_bytes: number } };
  /** The grants that the domain offers; null: it offers no grant. */
  readonly candidates: { readonly candidates: readonly Pick<Grant, 'id'>[] } | null;
  readonly received: { readonly placeholders: PlaceholdersInHead };
  /** Null: the request has no credential. */
  readonly grant: Grant | null;
  /** Additional grants. Their placeholders may appear where their credentials are injected. */
  readonly also: readonly { readonly grant: Pick<Grant, 'id'> }[];
  /** The provider of that grant. */
  readonly provider: Provider | undefined;
}

/** @throws SidekeyError `placeholder_misused`: a placeholder in the head is not replaced there */
export function refuseUnexpectedInHead(
  { authority }: Pick<ScannedRequest, 'authority'>,
  { caller, candidates, received, grant, also }: PlaceholderContext,
  codes: PlaceholderCodes,
): void {
  // A placeholder of another offered grant may stand in a field that the scheme writes.
  const { all } = received.placeholders;
  if (all.length === 0) return;
  const offered =
    grant === null ? [] : [grant, ...also.map((each) => each.grant), ...(candidates?.candidates ?? [])];
  for (const found of all)
    if (!offered.some(showsGrant([found], caller, codes))) throw notFor(authorityText(authority));
}

/**
 * Adds the detected placeholders to a request. If it can have none, returns it itself, else a promise.
 *
 * @param exchange told of a placeholder in the body that is not replaced there, and is forwarded
 * @throws SidekeyError `placeholder_misused`: a placeholder in the body is refused; `bad_request`: the client
 * disconnected within its body
 */
export function detectPlaceholders<R extends ScannedRequest>(
  request: R,
  context: PlaceholderContext,
  codes: PlaceholderCodes,
  exchange: ScannedExchange,
): R | Promise<R> {
  const { caller, config, received, grant } = context;
  const provider = grant === null ? undefined : context.provider;
  const hasNone = request.body === null && received.placeholders.all.length === 0;
  if (hasNone && provider?.placeholders.includes('websocket') !== true) return request;
  return scannedRequest(request, { caller, config, received, grant, provider }, codes, exchange);
}

async function scannedRequest<R extends ScannedRequest>(
  request: R,
  { caller, config, received, grant, provider }: Omit<PlaceholderContext, 'candidates' | 'also'>,
  codes: PlaceholderCodes,
  exchange: ScannedExchange,
): Promise<R> {
  const inHead = received.placeholders;
  const places = provider?.placeholders ?? [];
  const isOwn = (found: FoundCode) => grant !== null && showsGrant([found], caller, codes)(grant);
  const whyNot = (found: readonly FoundCode[]): SidekeyError | null => {
    const isForeign = found.some((each) => !isOwn(each));
    if (!isForeign && places.includes('body')) return null;
    if (provider?.unexpectedPlaceholders === 'pass') {
      exchange.passed();
      return null;
    }
    if (grant === null) return notFor(authorityText(request.authority));
    return isForeign ? foreign('the body') : misplaced('body', 'the body');
  };
  const options = { codes, whyNot, max: config.limits.placeholder_body_bytes };
  const scanned = await scanBody(request, options, places.includes('body'), exchange.reply);
  if (scanned instanceof SidekeyError) throw scanned;
  const { body, shown } = scanned;
  const leaving = body === request.body ? request : { ...request, body };
  if (grant === null || provider === undefined) return leaving;
  if (inHead.all.length === 0 && shown === null && !places.includes('websocket')) return leaving;
  const texts = () => placeholdersOf({ holders: holdersOf(caller), grant: grant.id }, provider, codes);
  const mayBeInTarget = places.includes('path') || places.includes('query');
  const inContent =
    shown !== null ||
    (mayBeInTarget && inHead.inTarget.length > 0) ||
    (places.includes('header') && inHead.inOtherFields.length > 0);
  return { ...leaving, placeholders: { texts, places, codes, inContent, body: shown } };
}

/** Codes, rule and limit that a body is scanned with. */
interface ScanOptions {
  readonly codes: PlaceholderCodes;
  /** Returns the refusal of detected placeholders; null: they are allowed. */
  readonly whyNot: (found: readonly FoundCode[]) => SidekeyError | null;
  /** Maximum bytes that are read ahead. */
  readonly max: number;
}

/** A scanned body that is still complete. */
interface ScannedBody extends Pick<ScannedRequest, 'body'> {
  /** Placeholders to replace; null: nothing is replaced. */
  readonly shown: PlaceholdersInBody | null;
}

/**
 * Finds placeholders in a body: while it streams, or ahead to a limit if the credential may replace them.
 *
 * @throws SidekeyError `bad_request`: the client disconnected within it
 */
async function scanBody(
  { body, framing, fields, bodyHash, wholeBody }: ScannedRequest,
  options: ScanOptions,
  isWritten: boolean,
  reply: Pick<Reply, 'continue'>,
): Promise<ScannedBody | SidekeyError> {
  // A scheme that has read the body writes it.
  const isTaken = bodyHash !== undefined || wholeBody !== undefined;
  const syntax = body === null || isTaken ? null : syntaxOf(fields);
  if (body === null || syntax === null) return { body, shown: null };
  if (!isWritten) return { body: watched(body, options), shown: null };
  // It may be a conversation, so reading ahead could wait forever.
  if (framing.kind === 'chunked') return { body, shown: { syntax, whole: null } };
  reply.continue();
  const read = await readAhead(body[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>, options.max);
  const bodyCodes = findIn(read.bytes, options.codes);
  const wrong = bodyCodes.length === 0 ? null : options.whyNot(bodyCodes);
  if (wrong !== null) return wrong;
  if (bodyCodes.length > 0)
    return { body: read.body, shown: { syntax, whole: read.isWhole ? read.bytes : null } };
  if (read.isWhole || read.body === null) return { body: read.body, shown: null };
  return { body: watched(read.body, { ...options, whyNot: () => tooLate(options.max) }), shown: null };
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

/** Returns the syntax of a body; null: it is not scanned, or is encoded. */
function syntaxOf(fields: RawFields): BodySyntax | null {
  const encodings = valuesOf(fields, 'content-encoding');
  if (encodings.some((encoding) => encoding.trim().toLowerCase() !== 'identity')) return null;
  const [type = ''] = (valuesOf(fields, 'content-type')[0] ?? '').split(';', 1);
  const media = type.trim().toLowerCase();
  if (media.endsWith('/json') || media.endsWith('+json')) return 'json';
  if (media === 'application/x-www-form-urlencoded') return 'form';
  return media === 'multipart/form-data' || media === 'text/plain' ? 'plain' : null;
}
