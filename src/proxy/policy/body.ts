import { decodedBody, tooLongFor, type UnreadableBody } from '../../lib/content-coding.ts';
import { type GraphqlOperation, maxOperations, operationsOf, operationsOfBody } from './graphql.ts';
import { isJsonObject, type Json, type JsonObject, parseStrictJson } from '../../lib/json.ts';
import { isOverride, type Parameter, parametersOf } from './method-override.ts';
import { isUnread, type ReadQuery, readQuery } from './path.ts';
import { ambiguous, fold, jsonType, mediaTypeOf, memberOf } from './text.ts';

/** Facts about a request body, for the conditions of rules. */
export interface BodyFacts {
  /** The operations of a GraphQL request or batch; empty without a body; null if unreadable. */
  readonly graphql: readonly GraphqlOperation[] | null;
  /** The messages of a JSON-RPC request or batch; empty without a body; null if unreadable. */
  readonly jsonrpc: readonly JsonRpcCall[] | null;
  /** Parameters of a form or a JSON object that may name a method; null if some were not read. */
  readonly form?: readonly Parameter[] | null;
  /** The value of a JSON body; undefined without a body. Absent if unreadable. */
  readonly json?: { readonly value: Json | undefined };
  /** The parameters of a form-encoded body. Absent if servers may differ in them. */
  readonly parameters?: ReadQuery;
  /** Reason why the bytes were not read; absent: they were, or there are none. */
  readonly unread?: UnreadableBody;
}

/** A message of JSON-RPC 2.0. */
export interface JsonRpcCall {
  /** Null for a response, which calls no method. */
  readonly method: string | null;
  /** The tool of a `tools/call` (Model Context Protocol); null for every other method. */
  readonly tool: string | null;
  /** The arguments of that call. `ambiguous`: servers differ in them, or they are unknown. */
  readonly arguments?: Json | typeof ambiguous | undefined;
}

/** A copy of a body, with the fields that describe it. */
export interface BodyCopy {
  /** The only `Content-Type` field; null if there is none, or more than one. */
  readonly contentType: string | null;
  /** The values of `Content-Encoding`, joined by commas, or null. */
  readonly contentEncoding: string | null;
  readonly bytes: Buffer;
}

/** Facts of a request without a body. */
export const noBody: BodyFacts = Object.freeze({
  graphql: [],
  jsonrpc: [],
  json: { value: undefined },
  parameters: new Map(),
});
/** Facts of an unread or unreadable body. */
export const unreadBody: BodyFacts = Object.freeze({ graphql: null, jsonrpc: null });

/**
 * Reads a copy of a body. An ambiguous or too large body is unread: no condition on it holds for an `allow`
 * rule, and each one holds for a `deny` rule. Never throws.
 *
 * @param complete whether the copy is the whole body; a part of one is not read
 * @param maxBytes maximum bytes of the body, also after it is decoded
 */
export function readBodyFacts(copy: BodyCopy, complete: boolean, maxBytes = 65_536): BodyFacts {
  const { contentType, contentEncoding, bytes } = copy;
  const limit = { name: 'rule_body_bytes', bytes: maxBytes } as const;
  if (!complete) return unreadFacts(contentType, tooLongFor(limit));
  const plain = decodedBody(bytes, contentEncoding === null ? [] : [contentEncoding], limit);
  if (!Buffer.isBuffer(plain)) return unreadFacts(contentType, plain);
  if (plain.length === 0) return noBody;
  try {
    const facts = readBody(contentType, plain);
    return plain === bytes ? facts : withRawForm(facts, contentType, bytes);
  } catch (error) {
    if (error instanceof RangeError) return unreadBody;
    throw error;
  }
}

function unreadFacts(contentType: string | null, unread: UnreadableBody): BodyFacts {
  return hasForm(contentType) ? { ...unreadBody, form: null, unread } : { ...unreadBody, unread };
}

/** A byte of a coding that does not belong to a text. */
const notText = /[^\t-\r -~]/;

/**
 * Adds the parameters that a server which ignores `Content-Encoding` reads: gzip has room for some. Codings
 * keep short texts, whole or in pieces, so the parameters of the decoded form do not count.
 */
function withRawForm(facts: BodyFacts, contentType: string | null, bytes: Buffer): BodyFacts {
  const { form, parameters } = facts;
  if (form === undefined || form === null) return facts;
  const decoded = Map.groupBy(form, ([name]) => name);
  const raw = (formOf(contentType, bytes, Infinity) ?? []).filter(([name, value]) => {
    const [start = ''] = value.split(notText, 1);
    const pairs = decoded.get(name.split(notText).at(-1)!) ?? [];
    return !pairs.some(([, known]) => (start === value ? known === value : known.startsWith(start)));
  });
  if (parameters === undefined) return { ...facts, form: [...form, ...raw] };
  // A parameter in another spelling never holds for certain.
  const others = Map.groupBy(raw, ([name]) => `\n${name}`);
  const both = [...others].map(([name, pairs]) => [name, pairs.map(([, value]) => value)] as const);
  return { ...facts, form: [...form, ...raw], parameters: new Map([...both, ...parameters]) };
}

function readBody(contentType: string | null, bytes: Buffer): BodyFacts {
  const form = formOf(contentType, bytes);
  const type = mediaTypeOf(contentType);
  if (form !== undefined) {
    if (type !== 'application/x-www-form-urlencoded') return { ...unreadBody, form };
    const parameters = readQuery(`?${new TextDecoder('latin1').decode(bytes)}`);
    return { ...unreadBody, form, ...(isUnread(parameters) ? {} : { parameters }) };
  }
  const text = type === null ? null : decodeUtf8(bytes);
  if (type === null || text === null) return unreadBody;
  if (type === 'application/graphql') return { graphql: operationsOf(text), jsonrpc: null };
  const value = jsonType.test(type) ? parseStrictJson(text, true) : undefined;
  if (value === undefined) return unreadBody;
  const parts = Array.isArray(value) ? (value as readonly Json[]) : [value];
  const read = {
    graphql: readAll(parts, operationsOfBody),
    jsonrpc: readAll(parts, jsonRpcOf),
    json: { value },
  };
  // `method` is a member of every JSON-RPC call. Some frameworks also read other method parameters from JSON.
  const named = isJsonObject(value) ? [...value.keys()].filter(isOverride) : [];
  return named.length === 0 ? read : { ...read, form: named.map((name) => [name, ''] as const) };
}

/** Decodes UTF-8, including a byte order mark. Returns null if the bytes are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** Reads all parts of a batch. Returns null if one is unreadable, or there are none or too many. */
function readAll<T>(
  parts: readonly Json[],
  read: (part: JsonObject) => readonly T[] | null,
): readonly T[] | null {
  const all: T[] = [];
  for (const part of parts) {
    const operations = isJsonObject(part) ? read(part) : null;
    if (operations === null || all.length + operations.length > maxOperations) return null;
    all.push(...operations);
  }
  return all.length > 0 ? all : null;
}

const toolsCall = 'tools/call';
const toolMethods = new Set([toolsCall, 'tools/list']);

function jsonRpcOf(message: JsonObject): readonly JsonRpcCall[] | null {
  const method = memberOf(message, 'method');
  if (memberOf(message, 'jsonrpc') !== '2.0') return null;
  if (method === undefined) {
    const isAnswer = ['result', 'error'].some((name) => {
      const member = memberOf(message, name);
      return member !== undefined && member !== ambiguous;
    });
    return isAnswer ? [{ method: null, tool: null }] : null;
  }
  if (typeof method !== 'string') return null;
  // The most lenient server accepts `Tools/Call ` as `tools/call`.
  if (!toolMethods.has(method) && toolMethods.has(fold(method).replace(/[\s\p{Cc}]/gu, ''))) return null;
  if (method !== toolsCall) return [{ method, tool: null }];
  const params = memberOf(message, 'params');
  if (params === ambiguous || !isJsonObject(params)) return null;
  const tool = memberOf(params, 'name');
  return typeof tool === 'string' ? [{ method, tool, arguments: memberOf(params, 'arguments') }] : null;
}

/** Maximum number of parameters to read. */
const maxParameters = 1_000;

/** Reports whether some server reads a body of this `Content-Type` as a form. */
export function hasForm(contentType: string | null): boolean {
  return /x-www-form-urlencoded|multipart\//i.test(contentType ?? '');
}

/** Reads the parameters of a form leniently, to find all candidates. Undefined: no form. Null: too many. */
function formOf(
  contentType: string | null,
  bytes: Buffer,
  most = maxParameters,
): readonly Parameter[] | null | undefined {
  if (!hasForm(contentType)) return undefined;
  const text = new TextDecoder('latin1').decode(bytes);
  const parameters = /multipart\//i.test(contentType ?? '') ? partsOf(text) : parametersOf(text);
  return parameters.length > most ? null : parameters;
}

/** Reads `multipart/form-data` (RFC 7578 §4.2): names in any line, and the line after the next empty one. */
function partsOf(text: string): readonly Parameter[] {
  const parameters: Parameter[] = [];
  for (const { 1: quoted, 2: bare, index, 0: all } of text.matchAll(
    /\bname\*?[ \t]*=[ \t]*(?:(?:utf-8'')?"([^"\r\n]*)"?|([^";\s]+))/gi,
  )) {
    const head = text.slice(index + all.length, index + all.length + 1_024);
    const [, value = ''] = /\r?\n\r?\n([^\r\n]{0,64})/.exec(head) ?? [];
    for (const parameter of parametersOf((quoted ?? bare ?? '').replace(/^utf-8''/i, ''))) {
      parameters.push([parameter[0], value]);
    }
    if (parameters.length > maxParameters) break;
  }
  return parameters;
}
