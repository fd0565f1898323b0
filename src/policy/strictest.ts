import type { Ruling } from './judge.ts';

/**
 * What two sets of rules say of a request that has to pass both: never more than either of them lets through. What both
 * count is counted, and the lesser bound holds. Where one wants a person's yes and the other lets no credential go along,
 * nothing does justice to both, and the request is refused.
 */
export function strictest(one: Ruling, other: Ruling): Ruling {
  const first = decider(one, other);
  const second = first === one ? other : one;
  const steps = [...one.steps, ...other.steps];
  if (first.outcome === 'deny') {
    // A no that hangs on no body stands, whatever the body says to the other.
    const isFinal = [one, other].some(({ outcome, needsBody }) => outcome === 'deny' && !needsBody);
    return { ...first, steps, needsBody: !isFinal };
  }
  const needsBody = one.needsBody || other.needsBody;
  if (first.outcome === 'tunnel' && second.outcome === 'approve') {
    return {
      ...first,
      outcome: 'deny',
      reason: 'the request needs approval by one rule, and gets no credential by another',
      code: 'rule_denied',
      hint: `change ${first.rule}, or ${second.rule}`,
      limits: [],
      maxResponse: null,
      steps,
      needsBody,
    };
  }
  const keys = [...new Set([one.approvalKey, other.approvalKey])].filter((key) => key !== null);
  const bounds = [one.maxResponse, other.maxResponse].filter((bytes) => bytes !== null);
  return {
    ...first,
    // A yes that was kept for one of them is none for both.
    approvalKey: keys.length === 0 ? null : keys.join(' '),
    // One rule that says both counts the request once.
    limits: [...new Set([...one.limits, ...other.limits])],
    maxResponse: bounds.length === 0 ? null : Math.min(...bounds),
    steps,
    needsBody,
  };
}

/** From what refuses to what lets through. */
const order = ['deny', 'tunnel', 'approve', 'allow'] as const satisfies readonly Ruling['outcome'][];

/** The one that decides. Of two that refuse, one that does so whatever the body says. */
function decider(one: Ruling, other: Ruling): Ruling {
  const [a, b] = [order.indexOf(one.outcome), order.indexOf(other.outcome)];
  if (a !== b) return a < b ? one : other;
  return one.outcome === 'deny' && one.needsBody && !other.needsBody ? other : one;
}
