import { BlockList } from 'node:net';
import type { Cidr } from './address.ts';
import { globCovers } from './glob.ts';
import { pathCovers } from './path-glob.ts';
import type { ConditionName, Conditions } from './rule.ts';

/**
 * Whether every request that `inner` is meant for meets `outer` too, so that a rule with `inner` is never reached behind one
 * with `outer`. May say no where it is so; never yes where it is not.
 */
export function conditionsCover(outer: Conditions, inner: Conditions): boolean {
  return (Object.keys(coverings) as ConditionName[]).every((name) => covered(name, outer, inner));
}

function covered<K extends ConditionName>(
  name: K,
  outer: Pick<Conditions, K>,
  inner: Pick<Conditions, K>,
): boolean {
  const wide = outer[name];
  if (wide === null) return true;
  const narrow = inner[name];
  return narrow !== null && coverings[name](wide, narrow);
}

type Covering = {
  readonly [K in ConditionName]: (
    outer: NonNullable<Conditions[K]>,
    inner: NonNullable<Conditions[K]>,
  ) => boolean;
};

/** Each of `inner` is covered by one of `outer`. */
function all<T>(
  covers: (outer: T, inner: T) => boolean,
): (outer: readonly T[], inner: readonly T[]) => boolean {
  return (outer, inner) => inner.every((narrow) => outer.some((wide) => covers(wide, narrow)));
}

const globs = all(globCovers);
const same = all<unknown>((a, b) => a === b);

const coverings: Covering = {
  methods: same,
  paths: all(pathCovers),
  query: (outer, inner) =>
    [...outer].every(([name, wide]) => {
      const narrow = inner.get(name);
      return narrow !== undefined && globs(wide, narrow);
    }),
  contentTypes: globs,
  bodySize: (outer, inner) =>
    outer.min <= inner.min && (outer.max === null || (inner.max !== null && inner.max <= outer.max)),
  times: all(
    (a, b) =>
      a.from === b.from &&
      a.to === b.to &&
      a.zone === b.zone &&
      b.weekdays.every((day) => a.weekdays.includes(day)),
  ),
  clients: all(blockCovers),
  agents: globs,
  users: globs,
  labels: globs,
  graphql: (outer, inner) => orAny(same, outer.types, inner.types) && orAny(globs, outer.names, inner.names),
  // Without methods, tools are about tools/call alone: the two say different things.
  jsonrpc: (outer, inner) =>
    (outer.methods === null) === (inner.methods === null) &&
    orAny(globs, outer.methods, inner.methods) &&
    orAny(globs, outer.tools, inner.tools),
};

function orAny<T>(
  covers: (outer: readonly T[], inner: readonly T[]) => boolean,
  outer: readonly T[] | null,
  inner: readonly T[] | null,
): boolean {
  return outer === null || (inner !== null && covers(outer, inner));
}

function blockCovers(outer: Cidr, inner: Cidr): boolean {
  if (outer.family !== inner.family || outer.prefix > inner.prefix) return false;
  const list = new BlockList();
  list.addSubnet(outer.address, outer.prefix, outer.family);
  return list.check(inner.address, inner.family);
}
