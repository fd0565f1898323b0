import { describeCondition } from './condition-words.ts';
import { boundOf } from './limit-refusal.ts';
import { isUnread } from './path-reading.ts';
import type { ReadRequest } from './read-request.ts';
import type { ConditionName, Rule } from './rule.ts';

/** What a rule is for, and what it asks of a request that it matches, without its outcome: `methods GET; paths /v1/**`. */
export function describeRule({ conditions, requireReason, limits, maxResponse }: Rule): string {
  const names = Object.keys(conditions) as ConditionName[];
  const when = names
    .filter((name) => conditions[name] !== null)
    .map((name) => describeCondition(conditions, name));
  return [
    ...(when.length === 0 ? ['every request'] : when),
    ...(requireReason ? ['with a reason'] : []),
    ...limits.map((limit) => `at most ${boundOf(limit)} per ${limit.per}`),
    ...(maxResponse === null ? [] : [`responses of at most ${maxResponse} bytes`]),
  ].join('; ');
}

/** The line of a rule that would allow just this request: its method, and its path where that has a reading. */
export function ruleFor({ facts: { method }, path }: Pick<ReadRequest, 'facts' | 'path'>): string {
  const methods = `methods: [${/^[A-Z-]+$/.test(method) ? method : JSON.stringify(method)}]`;
  const read = path();
  const text = isUnread(read) ? '*' : `/${read.segments.join('/')}`;
  // What the config file would take for more than this path, or for something else.
  if (/[*%;\\?#]|\p{Cc}|[^\x20-\x7e]/u.test(text)) return `- { ${methods} }`;
  return `- { ${methods}, paths: [${/^[A-Za-z0-9/._-]+$/.test(text) ? text : JSON.stringify(text)}] }`;
}
