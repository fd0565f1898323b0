import { BlockList, isIP } from 'node:net';
import { type Cidr, plainAddress } from './authority.ts';
import type { JsonRpcCall } from './body.ts';
import type { GraphqlOperation } from './graphql.ts';
import { both, formTest, globTest, jsonTest, memberTest, queryTest } from './parameters.ts';
import { isUnread, matchesLoosely, matchesPath, type PathGlob } from './path.ts';
import type { ReadRequest } from './request.ts';
import {
  type ConditionName,
  type ConditionResult,
  type Conditions,
  createTimeTest,
  type GraphqlCondition,
  type JsonRpcCondition,
  type TimeWindow,
} from './rule.ts';
import { type Glob, matchesAny } from './text.ts';

/** Returns a test for operations with one of the types and one of the names. */
function graphqlTest({ types, names }: GraphqlCondition): (request: ReadRequest) => ConditionResult {
  const resultOf = ({ type, name }: GraphqlOperation) =>
    verdictOf((types === null || types.includes(type)) && (names === null || matchesAny(names, name)));
  return (request) => bodyVerdictOf(request.operations(), resultOf);
}

/** With methods, `tools` and `arguments` restrict only `tools/call`. Otherwise only such calls match. */
function jsonRpcTest({ methods, tools, arguments: wanted }: JsonRpcCondition): Test {
  const inMethods = methods === null ? null : globTest(methods);
  const inTools = tools === null ? null : globTest(tools);
  const inArguments = wanted === undefined ? null : memberTest(wanted);
  const isAboutTools = inTools !== null || inArguments !== null;
  const resultOf = ({ method, tool, arguments: given }: JsonRpcCall): ConditionResult => {
    if (method === null || (tool === null && isAboutTools && inMethods === null)) return 'no';
    const results = [inMethods?.(method)];
    if (tool !== null) results.push(inTools?.(tool), inArguments?.(given));
    if (results.includes('no')) return 'no';
    return results.includes('unclear') ? 'unclear' : 'yes';
  };
  return (request) => bodyVerdictOf(request.calls(), resultOf);
}

/** Returns yes if all items match, no if none does, otherwise unclear. */
function bodyVerdictOf<T>(
  asked: readonly T[] | null,
  resultOf: (one: T) => ConditionResult,
): ConditionResult {
  if (asked === null) return 'unclear';
  let verdict: ConditionResult | null = null;
  for (const one of asked) verdict = both(verdict, resultOf(one));
  return verdict ?? 'no';
}

/** Tests one condition of a request. */
export type Test = (request: ReadRequest) => ConditionResult;

type Tests = { readonly [K in ConditionName]: (condition: NonNullable<Conditions[K]>) => Test };

/** Tests of all conditions in evaluation order: cheap and selective ones first, the body last. */
export const tests: Tests = {
  methods: methodTest,
  paths: pathTest,
  agents: (globs) => nameTest(globs, ({ facts }) => facts.agent),
  users: (globs) => nameTest(globs, ({ facts }) => facts.user),
  labels: labelTest,
  clients: clientTest,
  times: timeTest,
  query: queryTest,
  contentTypes: contentTypeTest,
  bodySize:
    ({ min, max }) =>
    ({ facts: { contentLength: bytes } }) =>
      bytes === null ? 'unclear' : verdictOf(bytes >= min && (max === null || bytes <= max)),
  graphql: graphqlTest,
  jsonrpc: jsonRpcTest,
  json: jsonTest,
  form: formTest,
};

function verdictOf(holds: boolean): ConditionResult {
  return holds ? 'yes' : 'no';
}

/** Methods are case-sensitive, but some servers treat `delete` as `DELETE`. */
function methodTest(methods: readonly string[]): Test {
  const listed = new Set(methods);
  return ({ facts: { method } }) => {
    if (listed.has(method)) return 'yes';
    return !isCapital(method) && listed.has(method.toUpperCase()) ? 'unclear' : 'no';
  };
}

/** Reports whether a text contains only the letters A to Z. */
function isCapital(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code < 0x41 || code > 0x5a) return false;
  }
  return true;
}

/** Servers differ in paths that differ only in case, invisible characters or suffixes. */
function pathTest(globs: readonly PathGlob[]): Test {
  return (request) => {
    const path = request.path();
    if (isUnread(path)) return 'unclear';
    // Indexes, because an iterator creates an object for each glob.
    for (let i = 0; i < globs.length; i += 1)
      if (matchesPath(globs[i]!.segments, path.segments)) return 'yes';
    for (let i = 0; i < globs.length; i += 1)
      if (matchesLoosely(globs[i]!.loose, path.loose)) return 'unclear';
    return 'no';
  };
}

function labelTest(globs: readonly Glob[]): Test {
  return ({ facts }) => {
    const { labels } = facts;
    for (let i = 0; i < labels.length; i += 1) if (matchesAny(globs, labels[i]!)) return 'yes';
    return 'no';
  };
}

function nameTest(globs: readonly Glob[], nameOf: (request: ReadRequest) => string | null): Test {
  return (request) => {
    const name = nameOf(request);
    return verdictOf(name !== null && matchesAny(globs, name));
  };
}

function clientTest(blocks: readonly Cidr[]): Test {
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const { address, prefix, family } of blocks) lists[family].addSubnet(address, prefix, family);
  const verdict = (client: string): ConditionResult => {
    const [address = ''] = plainAddress(client).split('%', 1);
    switch (isIP(address)) {
      case 4:
        return verdictOf(lists.ipv4.check(address, 'ipv4'));
      case 6:
        return verdictOf(lists.ipv6.check(address, 'ipv6'));
      default:
        return 'unclear';
    }
  };
  // A check takes microseconds, so the last result is cached.
  let last: { readonly client: string; readonly verdict: ConditionResult } | null = null;
  return ({ facts: { client } }) => {
    if (last?.client !== client) last = { client, verdict: verdict(client) };
    return last.verdict;
  };
}

function timeTest(windows: readonly TimeWindow[]): Test {
  const inside = windows.map(createTimeTest);
  return ({ facts: { now } }) => {
    let verdict: ConditionResult = 'no';
    for (let i = 0; i < inside.length; i += 1) {
      const isInside = inside[i]!(now);
      if (isInside === true) return 'yes';
      if (isInside === null) verdict = 'unclear';
    }
    return verdict;
  };
}

function contentTypeTest(globs: readonly Glob[]): Test {
  return (request) => {
    const type = request.mediaType();
    if (type === undefined) return 'unclear';
    if (type === null) return request.facts.contentLength === 0 ? 'no' : 'unclear';
    return verdictOf(matchesAny(globs, type));
  };
}
