import { createHash, hash } from 'node:crypto';
import { orMeant } from '../lib/text.ts';
import type { DomainPattern } from '../proxy/policy/domain-map.ts';
import { compileRule, compileRules } from '../proxy/policy/judge.ts';
import { type CompiledRule, conditionsCover, type DomainRules } from '../proxy/policy/rule.ts';
import type { ConfigDocument } from './document.ts';
import { formatPath, type Path, type Problem } from './problem.ts';
import type { RuleDefinition } from './rules.ts';
import type { ConfigValues } from './schema.ts';

interface DefinedRules {
  /** Returns the rules of the domain with that key, as written; null: it has none. */
  of(key: string, pattern: DomainPattern): DomainRules | null;
  /** The policies by name, each as the rules of a domain. */
  readonly policies: Policies;
  /** Problems of the rules. Rules with problems must not be used. */
  readonly problems: readonly Problem[];
}

/** Named rules of the file. */
export interface Policies {
  readonly names: readonly string[];
  /**
   * Returns the rules of a policy to apply in addition to a domain's, with their own counters and approvals;
   * null if no policy has that name. A request that matches none of the rules is refused.
   */
  additionalRules(name: string, domain: Pick<DomainPattern, 'text'>): DomainRules | null;
}

/** A rule with its position, complete except for the names of its counters. */
interface Placed {
  readonly path: Path;
  readonly definition: RuleDefinition;
  readonly compiled: CompiledRule;
  /** Path of the domain entry that uses its policy; null: none. */
  readonly use: Path | null;
}

/** Maximum number of expanded rules, because comparing them takes quadratic time. */
const maxExpanded = 1_000;

/**
 * Expands policies, compiles all rules, and finds unreachable ones. Rules of a policy are compiled once; each
 * domain has its own counters.
 */
export function defineRules(
  { policies, domains }: Pick<ConfigValues, 'policies' | 'domains'>,
  { document, name }: { readonly document: ConfigDocument; readonly name: string },
): DefinedRules {
  const problems: Problem[] = [];
  const at = (path: Path, of?: 'key') => `${formatPath(path)} (${name}:${document.position(path, of).line})`;
  const problem = (path: Path, message: string): void => {
    problems.push({ ...document.position(path), path, message });
  };
  const place = (definition: RuleDefinition, path: Path): Placed => {
    const limits = definition.limits.map((limit) => ({ ...limit, key: '' }));
    const rule = { ...definition, origin: at(path), key: keyOf(definition), limits };
    return { path, definition, compiled: compileRule(rule), use: null };
  };
  const shared = new Map(
    Object.entries(policies).map(([policy, definitions]) => [
      policy,
      definitions.map((definition, index) => place(definition, ['policies', policy, index])),
    ]),
  );
  for (const rules of shared.values()) findUnreached(rules, at, problem);

  const expanded = new Map<string, readonly Placed[]>();
  for (const [key, value] of Object.entries(domains)) {
    if (typeof value === 'string') continue;
    const path: Path = ['domains', key];
    if (value.rules === undefined && value.default === undefined) {
      if (value.mode !== undefined) problem([...path, 'mode'], 'is about rules, and there are none');
      continue;
    }
    const rules = (value.rules ?? []).flatMap((entry, index): readonly Placed[] => {
      const here: Path = [...path, 'rules', index];
      if (!('policy' in entry)) return [place(entry, here)];
      const policy = shared.get(entry.policy);
      if (policy !== undefined) return policy.map((rule) => ({ ...rule, use: here }));
      problem([...here, 'policy'], `is not one of policies${orMeant(entry.policy, [...shared.keys()], '')}`);
      return [];
    });
    if (rules.length > maxExpanded) {
      problem([...path, 'rules'], `has more than ${maxExpanded} rules with those of its policies`);
      continue;
    }
    findUnreached(rules, at, problem);
    expanded.set(key, rules);
  }

  return {
    problems,
    policies: {
      names: [...shared.keys()],
      additionalRules(policy, { text }) {
        const rules = shared.get(policy);
        if (rules === undefined) return null;
        const origin = at(['policies', policy], 'key');
        return compileRules({
          // With shared counters, a domain that also uses the policy would count a request twice.
          ...withApprovalKeys({ text: `${text} and others` }, rules),
          default: 'deny',
          defaultOrigin: origin,
          mode: 'enforce',
          origin,
        });
      },
    },
    of(key, pattern) {
      const rules = expanded.get(key);
      const value = domains[key];
      if (rules === undefined || value === undefined || typeof value === 'string') return null;
      const path: Path = ['domains', key];
      const origin = at(value.rules === undefined ? path : [...path, 'rules'], 'key');
      const keyed = withApprovalKeys(pattern, rules);
      return compileRules({
        rules: keyed.rules,
        // A list of rules implies that all else is refused.
        default: value.default ?? 'deny',
        key: keyed.key,
        defaultOrigin: value.default === undefined ? origin : at([...path, 'default'], 'key'),
        mode: value.mode ?? 'enforce',
        origin,
      });
    },
  };
}

function findUnreached(
  rules: readonly Placed[],
  at: (path: Path) => string,
  problem: (path: Path, message: string) => void,
): void {
  const reported = new Set<Path>();
  for (const [index, later] of rules.entries()) {
    const before = rules.slice(0, index).find((earlier) => {
      // Within one policy it is reported once, at the policy.
      if (earlier.use !== null && earlier.use === later.use) return false;
      return conditionsCover(earlier.definition.conditions, later.definition.conditions);
    });
    const path = later.use ?? later.path;
    if (before === undefined || reported.has(path)) continue;
    reported.add(path);
    const which = later.use === null ? '' : `brings ${at(later.path)}, which `;
    problem(path, `${which}is never reached: ${at(before.path)} matches all that it does, and comes first`);
  }
}

/**
 * Returns the key of a rule's conditions and effect. Position, name, field order and amounts do not matter.
 */
function keyOf({ conditions: { json, form, ...others }, outcome }: RuleDefinition): string {
  // Omits absent conditions that a later version added, so that counters and approvals survive an update.
  const conditions = { ...others, ...(json && { json }), ...(form && { form }) };
  return hash('sha256', inOneOrder({ conditions, outcome })).slice(0, 16);
}

/** Serialises a condition. Lists are sorted, because their order has no meaning; a glob is its text. */
function inOneOrder(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if ('text' in value) return JSON.stringify(value.text);
  if (Array.isArray(value)) return `[${value.map(inOneOrder).toSorted().join()}]`;
  const members = value instanceof Map ? [...value] : Object.entries(value);
  return `{${members
    .map(([name, item]) => `${JSON.stringify(name)}:${inOneOrder(item)}`)
    .toSorted()
    .join()}}`;
}

/**
 * Adds approval keys, which depend on the preceding rules: a standing approval must not cover more after such
 * a rule is added or removed. The key of the domain is that of its default.
 */
function withApprovalKeys(
  pattern: Pick<DomainPattern, 'text'>,
  rules: readonly Placed[],
): Pick<DomainRules, 'rules' | 'key'> {
  const before = createHash('sha256').update(pattern.text);
  const key = () => before.copy().digest('hex').slice(0, 32);
  const keyed = rules.map((placed): CompiledRule => {
    const compiled = countedFor(pattern, placed);
    before.update(` ${compiled.rule.key} ${compiled.restricts}`);
    return compiled.rule.outcome === 'approve'
      ? { ...compiled, rule: { ...compiled.rule, key: key() } }
      : compiled;
  });
  return { rules: keyed, key: key() };
}

/** Names counters by the domain and the rule. */
function countedFor({ text }: Pick<DomainPattern, 'text'>, { definition, compiled }: Placed): CompiledRule {
  if (definition.limits.length === 0) return compiled;
  const limits = definition.limits.map((limit, index) => {
    const ordinal = definition.limits
      .slice(0, index)
      .filter(({ kind, per }) => kind === limit.kind && per === limit.per).length;
    const key = `${text} ${compiled.rule.key} ${limit.kind} ${limit.per} ${ordinal}`;
    return { ...limit, key, origin: compiled.rule.origin };
  });
  return { ...compiled, rule: { ...compiled.rule, limits } };
}
