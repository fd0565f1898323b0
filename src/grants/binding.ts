import type { Grant } from './grant.ts';

/**
 * What makes a grant reachable for an agent. Bindings add up; an agent without any reaches nothing. Those by provider,
 * user and label also stand for grants that are yet to come.
 *
 * - `grant`: the one of this id.
 * - `provider`, `user`, `label`: every grant that has it.
 * - `everything`: all grants; its value is `*`.
 */
export interface Binding {
  readonly kind: 'grant' | 'provider' | 'user' | 'label' | 'everything';
  readonly value: string;
}

/** Everything that any domain offers: what agents had before there were bindings. */
export const everything: Binding = { kind: 'everything', value: '*' };

/**
 * Whether a binding of an agent reaches a grant. An agent that acts for a user reaches grants of other users only where
 * they are named, by id or by user: `provider github` of an agent for alice is alice's GitHub, not everybody's.
 *
 * @param actsFor the user that the agent acts for; null: nobody in particular
 * @param labels of the grant
 */
export function bindingReaches(
  binding: Binding,
  actsFor: string | null,
  grant: Grant,
  labels: readonly string[],
): boolean {
  const isOwn = actsFor === null || grant.user === actsFor;
  switch (binding.kind) {
    case 'grant':
      return grant.id === binding.value;
    case 'user':
      return grant.user === binding.value;
    case 'provider':
      return isOwn && grant.provider === binding.value;
    case 'label':
      return isOwn && labels.includes(binding.value);
    case 'everything':
      return true;
  }
}

/** Whether any of an agent's bindings reaches a grant; see `bindingReaches`. */
export function reachesGrant(
  bindings: readonly Binding[],
  actsFor: string | null,
  grant: Grant,
  labels: readonly string[],
): boolean {
  return bindings.some((binding) => bindingReaches(binding, actsFor, grant, labels));
}
