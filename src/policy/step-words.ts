import type { Step } from './rule.ts';

/** One step of a decision in words: which rule, with its config line, and why it counts or does not. */
export function describeStep({ rule, name, outcome, verdict, condition }: Step): string {
  const subject = name === null ? rule : `${name}, ${rule}`;
  switch (verdict) {
    case 'yes':
      return `${subject}: ${outcome}`;
    case 'no':
      return `${subject}: does not match, because of ${condition}`;
    case 'unclear':
      return `${subject}: nobody can tell, because of ${condition}`;
  }
}
