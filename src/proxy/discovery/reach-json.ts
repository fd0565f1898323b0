import { asTyped } from '../../command-name.ts';
import { describeRule } from '../../policy/rule-words.ts';
import type { Problem, Reach, ReachedGrant, ReachedHost } from './reach.ts';

/** What a caller reaches, for programs. Times are ISO 8601; null: there is none. */
export function reachJson({ now, agent, lease, endsAt, hosts, tunnels, denied, unmatched }: Reach): object {
  return {
    sidekey: 1,
    now: time(now),
    agent,
    lease: lease === null ? null : { ...lease, ends_at: time(endsAt) },
    ends_at: time(endsAt),
    hosts: hosts.map(hostJson),
    tunnels,
    denied,
    unmatched,
  };
}

function hostJson({ host, plainHttp, grants, chosen, problem, rules }: ReachedHost): object {
  return {
    host,
    plain_http: plainHttp,
    grants: grants.map(grantJson),
    chosen,
    problem: problemJson(problem),
    read_only: rules?.readOnly ?? false,
    mode: rules?.mode ?? 'enforce',
    default: rules?.default ?? 'allow',
    rules: (rules?.list ?? []).map((rule) => ({
      name: rule.name,
      outcome: rule.outcome,
      text: describeRule(rule),
      require_reason: rule.requireReason,
    })),
  };
}

function grantJson({ name, user, provider, scopes, state, endsAt, problem }: ReachedGrant): object {
  return { name, user, provider, scopes, state, ends_at: time(endsAt), problem: problemJson(problem) };
}

function problemJson(problem: Problem | null): object | null {
  if (problem === null) return null;
  const { code, sentence, hint } = problem;
  return { code, detail: sentence, hint: hint === null ? null : asTyped(hint) };
}

function time(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}
