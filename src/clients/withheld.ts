import type { Provider } from '../grants/provider.ts';
import type { Mint } from '../placeholder/of-grant.ts';

/** Who a credential of the parent's environment may belong to. */
export interface WithheldFacts {
  readonly parent: NodeJS.ProcessEnv;
  /** All that are known, with the variables that hold their credentials. */
  readonly providers: readonly Pick<Provider, 'name' | 'environment'>[];
  /** Names of providers of which the child reaches a grant; of those that share a variable the first has it. */
  readonly reachable: ReadonlySet<string>;
  /** Variables that Sidekey itself reads secrets from: `environmentReferences` of the config. */
  readonly references?: readonly string[];
  /** The placeholder of the child's own; absent: what the provider's definition says stands in for everybody. */
  readonly mint?: Mint | undefined;
  /** Variables that the child keeps whatever is known of them. */
  readonly keep?: readonly string[];
}

/** What the child does not get, and what it gets instead. */
export interface Withheld {
  /** Variables of the parent that the child must not have; none that is in `set`. In order. */
  readonly remove: readonly string[];
  /** Placeholders: they have the form that clients insist on, and open nothing. */
  readonly set: Readonly<Record<string, string>>;
  /** A sentence for each provider whose credential was taken and that the child reaches in no other way. */
  readonly notes: readonly string[];
}

/** Of ours, what is no secret. */
const harmless = ['SIDEKEY_CONFIG', 'SIDEKEY_HOME', 'SIDEKEY_BROWSER'];

/**
 * Takes credentials out of an environment: those of every provider that is known, whether a grant takes their place or
 * not, and those of Sidekey itself. A credential that the child holds is one that the audit does not see.
 */
export function withheld({
  parent,
  providers,
  reachable,
  references = [],
  keep = [],
  mint = (_provider, template) => template,
}: WithheldFacts): Withheld {
  const kept = new Set(keep);
  const known = providers.flatMap(({ name: provider, environment }) =>
    environment.filter(({ name }) => !kept.has(name)).map((variable) => ({ ...variable, provider })),
  );
  const order = [...reachable].toReversed();
  const set = Object.fromEntries(
    known
      // Where several have one variable, the last counts.
      .toSorted((one, other) => order.indexOf(one.provider) - order.indexOf(other.provider))
      .flatMap(({ name, placeholder, provider }) =>
        placeholder !== null && reachable.has(provider) ? [[name, mint(provider, placeholder)] as const] : [],
      ),
  );
  const isTaken = (name: string) => parent[name] !== undefined && parent[name] !== '';
  const ours = Object.keys(parent).filter(
    (name) => name.startsWith('SIDEKEY_') && !harmless.includes(name) && !kept.has(name),
  );
  const taken = [
    ...known.map(({ name }) => name),
    ...references.filter((name) => !kept.has(name)),
    ...ours,
  ].filter(isTaken);
  const byName = Map.groupBy(
    known.filter(({ name }) => isTaken(name)),
    ({ name }) => name,
  );
  const missing = [...byName].flatMap(([name, owners]) => {
    const [first] = owners;
    return first === undefined || owners.some(({ provider }) => reachable.has(provider))
      ? []
      : [{ name, provider: first.provider }];
  });
  return {
    remove: [...new Set(taken)].filter((name) => set[name] === undefined).toSorted(),
    set,
    notes: [...Map.groupBy(missing, ({ provider }) => provider)].map(
      ([provider, names]) =>
        `${names.map(({ name }) => name).join(', ')} ${names.length === 1 ? 'is' : 'are'} withheld, and no grant of ${provider} takes the place: sidekey connect ${provider}`,
    ),
  };
}
