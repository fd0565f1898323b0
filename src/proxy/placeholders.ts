import type { Identity } from '../agents/authentication.ts';
import type { Grant } from '../grants/grant.ts';
import { type RawFields, valuesOf } from '../http/fields.ts';
import type { Reply } from '../http/message.ts';
import { SidekeyError } from '../lib/errors.ts';
import {
  agentHolder,
  anyone,
  basicPair,
  type FoundCode,
  type Holder,
  leaseHolder,
  type PlaceholderCodes,
  placeholdersOf,
} from '../placeholders/codes.ts';
import { findIn, PlaceholderScanner } from '../placeholders/stream.ts';
import {
  type BodySyntax,
  foreign,
  misplaced,
  notFor,
  type PlaceholdersInBody,
  tooLate,
} from '../placeholders/substitute.ts';
import { authorityText } from '../policy/authority.ts';
import type { Judgement } from './authorize.ts';
import type { UpstreamRequest } from './forward.ts';
import { readAhead } from './request-body.ts';

/** The placeholders in a request's head: nearly always none. */
interface PlaceholdersInHead {
  readonly inTarget: readonly FoundCode[];
  /** In fields that are not `Authorization`: services repeat some of those, such as `X-Request-Id`. */
  readonly inOtherFields: readonly FoundCode[];
  /** In the target and in fields. */
  readonly all: readonly FoundCode[];
}

/** Finds them. */
export function detectInHead(
  { target, fields }: { readonly target: string; readonly fields: RawFields },
  codes: Pick<PlaceholderCodes, 'find'>,
): PlaceholdersInHead {
  const inTarget = codes.find(target);
  let all = inTarget;
  let inOtherFields: readonly FoundCode[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const value = fields[i + 1]!;
    const isOther = !isAuthorization(fields[i]!);
    const found = codes.find(isOther ? value : (basicPair(value) ?? value));
    if (found.length === 0) continue;
    all = [...all, ...found];
    if (isOther) inOtherFields = [...inOtherFields, ...found];
  }
  return { inTarget, inOtherFields, all };
}

function isAuthorization(name: string): boolean {
  return name.length === 13 && name.toLowerCase() === 'authorization';
}

/** The names under which a caller holds placeholders. */
export function holdersOf({ agent, lease }: Pick<Identity, 'agent' | 'lease'>): readonly Holder[] {
  if (agent === null) return [anyone];
  return lease === null ? [agentHolder(agent)] : [leaseHolder(lease.id), agentHolder(agent)];
}

/** Whether a caller shows the placeholder of a grant. */
export function showsGrant(
  shown: readonly FoundCode[],
  caller: Pick<Identity, 'agent' | 'lease'>,
  codes: Pick<PlaceholderCodes, 'isOf'>,
): (grant: Pick<Grant, 'id'>) => boolean {
  return ({ id }) => holdersOf(caller).some((holder) => shown.some((found) => codes.isOf(found, holder, id)));
}

/** What is known of a request that may have placeholders. */
export interface PlaceholderContext extends Pick<Judgement, 'caller' | 'settings' | 'offer'> {
  /** Of its head. */
  readonly inHead: PlaceholdersInHead;
  /** Null: it goes without one. */
  readonly grant: Grant | null;
}

/** Why the placeholders of a request's head may not be sent there; null: they may, or there are none. */
export function unexpectedInHead(
  { authority }: Pick<UpstreamRequest, 'authority'>,
  { caller, offer, inHead, grant }: PlaceholderContext,
  codes: PlaceholderCodes,
): SidekeyError | null {
  // Those of others that are offered here may stand in a field that the credential takes over.
  const offered = grant === null ? [] : [grant, ...(offer?.candidates ?? [])];
  const isStray = inHead.all.some((found) => !offered.some(showsGrant([found], caller, codes)));
  return isStray ? notFor(authorityText(authority)) : null;
}

/**
 * A request with what is known of its placeholders; the very request where it can have none.
 *
 * @param strayed told of one in the body that stands for nothing there, and goes on
 * @returns SidekeyError `placeholder_misused`: one in the body may not go there
 * @throws SidekeyError `bad_request` where the client left in its body
 */
export async function detectPlaceholders(
  request: UpstreamRequest,
  { caller, settings, inHead, grant }: PlaceholderContext,
  codes: PlaceholderCodes,
  reply: Pick<Reply, 'continue'>,
  strayed: () => void,
): Promise<UpstreamRequest | SidekeyError> {
  const provider = grant === null ? undefined : settings.provider(grant.provider);
  const places = provider?.placeholders ?? [];
  const isOwn = (found: FoundCode) => grant !== null && showsGrant([found], caller, codes)(grant);
  const whyNot = (found: readonly FoundCode[]): SidekeyError | null => {
    const isForeign = found.some((each) => !isOwn(each));
    if (!isForeign && places.includes('body')) return null;
    if (provider?.unexpectedPlaceholders === 'pass') {
      strayed();
      return null;
    }
    if (grant === null) return notFor(authorityText(request.authority));
    return isForeign ? foreign('the body') : misplaced('body', 'the body');
  };
  const look = { codes, whyNot, most: settings.limits.placeholder_body_bytes };
  const looked = await lookIntoBody(request, look, places.includes('body'), reply);
  if (looked instanceof SidekeyError) return looked;
  const { body, shown } = looked;
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

/** How a body is looked into. */
interface BodyLook {
  readonly codes: PlaceholderCodes;
  /** Why what was found may not be there. */
  readonly whyNot: (found: readonly FoundCode[]) => SidekeyError | null;
  /** Bytes that are read ahead. */
  readonly most: number;
}

/** A body that was looked into; it is whole still. */
interface LookedInto extends Pick<UpstreamRequest, 'body'> {
  /** Null: nothing in it is replaced. */
  readonly shown: PlaceholdersInBody | null;
}

/**
 * Looks for placeholders in a body: ahead within bounds where the credential may take their place, and else while it streams.
 *
 * @throws SidekeyError `bad_request` where the client left in it
 */
async function lookIntoBody(
  { body, framing, fields, bodyHash, wholeBody }: UpstreamRequest,
  look: BodyLook,
  isWritten: boolean,
  reply: Pick<Reply, 'continue'>,
): Promise<LookedInto | SidekeyError> {
  // What another way has read, it writes itself.
  const isTaken = bodyHash !== undefined || wholeBody !== undefined;
  const syntax = body === null || isTaken ? null : syntaxOf(fields);
  if (body === null || syntax === null) return { body, shown: null };
  if (!isWritten) return { body: watched(body, look), shown: null };
  // It may be a conversation: nobody knows when more of it comes.
  if (framing.kind === 'chunked') return { body, shown: { syntax, whole: null } };
  reply.continue();
  const read = await readAhead(body[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>, look.most);
  const found = findIn(read.bytes, look.codes);
  const wrong = found.length === 0 ? null : look.whyNot(found);
  if (wrong !== null) return wrong;
  if (found.length > 0)
    return { body: read.body, shown: { syntax, whole: read.isWhole ? read.bytes : null } };
  if (read.isWhole || read.body === null) return { body: read.body, shown: null };
  return { body: watched(read.body, { ...look, whyNot: () => tooLate(look.most) }), shown: null };
}

/** A body that ends where a placeholder comes in it, before the upstream has all of it. */
async function* watched(
  body: AsyncIterable<Buffer>,
  { codes, whyNot }: Pick<BodyLook, 'codes' | 'whyNot'>,
): AsyncGenerator<Buffer> {
  const scanner = new PlaceholderScanner(codes);
  for await (const piece of body) {
    const found = scanner.push(piece);
    const wrong = found.length === 0 ? null : whyNot(found);
    if (wrong !== null) throw wrong;
    yield piece;
  }
}

/** How values are written in a body of this media type. Null: it is not looked into, or is encoded. */
function syntaxOf(fields: RawFields): BodySyntax | null {
  const encodings = valuesOf(fields, 'content-encoding');
  if (encodings.some((encoding) => encoding.trim().toLowerCase() !== 'identity')) return null;
  const [type = ''] = (valuesOf(fields, 'content-type')[0] ?? '').split(';', 1);
  const media = type.trim().toLowerCase();
  if (media.endsWith('/json') || media.endsWith('+json')) return 'json';
  if (media === 'application/x-www-form-urlencoded') return 'form';
  return media === 'multipart/form-data' || media === 'text/plain' ? 'plain' : null;
}
