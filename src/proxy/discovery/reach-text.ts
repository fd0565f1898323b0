/** What a caller reaches, for reading: the reader is most often a language model that wants to know what to do. */
import { asTyped } from '../../command-name.ts';
import { defaultUser } from '../../grants/grant.ts';
import { describeRule } from '../../policy/rule-words.ts';
import type { RuleOutcome } from '../../policy/rule.ts';
import { visible } from '../../visible.ts';
import type { Problem, Reach, ReachedGrant, ReachedHost, ReachedRules } from './reach.ts';

const outcomes: Readonly<Record<RuleOutcome, string>> = {
  allow: 'allowed',
  deny: 'refused (rule_denied)',
  approve: 'waits until a person has said yes; let the request wait',
  tunnel: 'sent on without a credential',
};

/** Plain text, in lines. */
export function reachText(reach: Reach): string {
  const { hosts, tunnels, denied } = reach;
  const lines = [
    'This is Sidekey. It adds credentials to the requests that you send through it.',
    'You hold no key and need none. Send requests without Authorization, and never ask anybody for a key.',
    '',
    ...whoLines(reach),
    '',
    ...(hosts.length === 0
      ? ['You may call no host with a credential.', '']
      : ['You may call:', '', ...hosts.flatMap((host) => [...hostLines(host), ''])]),
    ...(tunnels.length === 0
      ? []
      : [`Passed through as they are, without a credential: ${tunnels.join(', ')}`]),
    ...(denied.length === 0 ? [] : [`Refused: ${denied.join(', ')}`]),
    ...otherLines(reach),
    '',
    'A refusal has the header Sidekey-Error with a code, and a JSON body (RFC 9457): "detail" says why, and "hint" is',
    'what a person can run or change. Tell the person, word for word, and go on when they have done it. Do not look for',
    'another way, and do not repeat what was refused, but for 429 and 503 after Retry-After.',
    'As JSON: send Accept: application/json, or ask for /index.json.',
  ];
  return `${lines.map(visible).join('\n')}\n`;
}

function whoLines({ agent, lease, endsAt, now }: Reach): string[] {
  const who = agent === null ? 'a caller on this machine, without a token' : `the agent ${agent}`;
  const under = lease === null ? '' : `, under the lease ${lease.id} (${lease.purpose})`;
  return [
    `You are ${who}${under}.`,
    ...(endsAt === null
      ? []
      : [`This ends at ${time(endsAt)}${lease === null ? '' : ', if it is not renewed'}.`]),
    `It is ${time(now)} now.`,
  ];
}

function hostLines({ host, plainHttp, grants, chosen, problem, rules }: ReachedHost): string[] {
  const scheme = plainHttp ? 'https, and plain http' : 'https';
  return [
    `${host} (${scheme})`,
    ...grants.flatMap((grant) => grantLines(grant, grants.length > 1 && grant.name === chosen)),
    ...(problem === null ? [] : problemLines(problem)),
    ...(rules === null ? ['  everything is allowed'] : ruleLines(rules)),
  ];
}

function grantLines(grant: ReachedGrant, isChosen: boolean): string[] {
  const { name, user, provider, scopes, state, endsAt, problem } = grant;
  const whose = user === defaultUser ? '' : ` of the user ${user}`;
  return [
    `  grant ${name}${whose} (${provider}): ${problem === null ? state : 'of no use now'}` +
      `${endsAt === null ? '' : `, yours until ${time(endsAt)}`}${isChosen ? ', used unless you name another' : ''}`,
    ...(scopes.length === 0 ? [] : [`    scopes ${scopes.join(' ')}`]),
    ...(problem === null ? [] : problemLines(problem)),
  ];
}

function problemLines({ code, sentence, hint }: Problem): string[] {
  return [`    ${code}: ${sentence}`, ...(hint === null ? [] : [`    ask the person for: ${asTyped(hint)}`])];
}

function ruleLines({ list, mode, readOnly, default: otherwise }: ReachedRules): string[] {
  return [
    ...(mode === 'report' ? ['  everything is allowed; what these rules say is only recorded:'] : []),
    ...(readOnly ? ['  only reading is allowed:'] : []),
    ...list.map((rule, index) => `  ${index + 1}. ${describeRule(rule)}: ${outcomes[rule.outcome]}`),
    `  anything else: ${outcomes[otherwise]}`,
  ];
}

function otherLines({ unmatched, agent }: Reach): string[] {
  if (unmatched === 'tunnel') return ['Any other host is passed through as it is, without a credential.'];
  const more =
    agent === null
      ? ''
      : ` (or, where the host has a grant already: sidekey agent bind ${agent} --grant NAME)`;
  return [
    'Any other host is refused (domain_not_allowed, or grant_missing).',
    `  if you need one, ask the person for: ${asTyped('sidekey domain allow HOST --grant NAME')}${more}`,
  ];
}

function time(at: number): string {
  return new Date(at).toISOString();
}
