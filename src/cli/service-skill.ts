import type { Operation, Provider } from '../domain/provider.ts';
import { hintOf, hintText, remedy } from '../lib/hint.ts';
import { shellQuoted } from '../lib/text.ts';
import { outcomes } from '../proxy/discovery.ts';
import { parseAuthority } from '../proxy/policy/authority.ts';
import { howToPropose } from '../proxy/policy/decide.ts';
import { createDomainMap, type Domain, type DomainMap } from '../proxy/policy/domain-map.ts';
import { describeRule, evaluateRules } from '../proxy/policy/judge.ts';
import { plainRequest, rulesFor } from '../proxy/policy/rule.ts';

/** Request of the API at a host. */
interface Call extends Operation {
  readonly host: string;
}

/**
 * Renders the skill of a provider with operations.
 *
 * @param domains allowed-domains map with its rules; null: the skill is for other machines too
 */
export function serviceSkill(provider: Provider, domains: readonly Domain[] | null): string {
  const { name, title } = provider;
  const calls = provider.operations.map((operation) => ({
    ...operation,
    host: operation.host ?? provider.audience[0] ?? '',
  }));
  const hosts = [...new Set(calls.map(({ host }) => host))];
  const map = createDomainMap(domains ?? []);
  const allowed = calls.find((call) => outcomeOf(call, map) === 'allow') ?? calls[0]!;
  const written = calls.find(({ method, example }) => method !== 'GET' && example !== undefined);
  const words = calls
    .slice(0, 8)
    .map((call) => call.words)
    .join(', ');
  const parts = [
    `---
name: sidekey-${name}
description: ${JSON.stringify(clipped(`Calls ${title} (${hosts.join(', ')}) through the Sidekey proxy, which adds the credential. Use it to ${words}`))}
---

# ${title} through Sidekey

Sidekey adds the credential to each request. **Send no \`Authorization\`, and never ask anybody for a key.**

## Examples

\`\`\`sh
${[...new Set([allowed, ...(written === undefined ? [] : [written])])].map((call) => exampleOf(call, provider)).join('\n')}
\`\`\`

curl also works, if \`HTTPS_PROXY\` is set.

## Requests

Replace each name in braces. The example is the query of a GET, otherwise the body.${calls.some(({ scopes }) => scopes !== undefined) ? ' One of the scopes is enough.' : ''}

| to | request | example | scopes |
| --- | --- | --- | --- |
${calls.map(rowOf).join('\n')}`,
    domains === null ? null : `## Rules when this page was written\n\n${rulesOf(hosts, map, name)}`,
    `## When a request is refused or waits

- With the field \`Sidekey-Error\`, Sidekey refused it. Tell the person \`detail\` and \`hint\` of the body, word for word.
- A rule can hold a request until a person approves it. Send it once, with \`--max-time 900\`, and tell the person that it
  waits. \`approval_denied\`: stop. \`approval_missing\`: nobody answered.
- A 401, 403 or 404 without \`Sidekey-Error\` is from ${title}.${hintFor(provider, calls)}
- \`sidekey fetch http://sidekey.internal/\` shows the present grants, scopes and rules.`,
  ];
  return `${parts.filter((part) => part !== null).join('\n\n')}\n`;
}

function rowOf({ words, method, host, path, example = '', scopes = [] }: Call): string {
  const cell = (texts: readonly string[]) =>
    texts.map((text) => (text === '' ? '-' : `\`${text.replaceAll('|', String.raw`\|`)}\``)).join(' ') || '-';
  return `| ${words} | \`${method} https://${host}${path}\` | ${cell([example])} | ${cell(scopes)} |`;
}

/** Returns a command with the names of the path in capitals. */
function exampleOf({ words, method, host, path, example }: Call, { probe }: Provider): string {
  const url = `https://${host}${path.replaceAll(/\{\+?([^{}]+)\}/g, (_, name: string) => name.toUpperCase())}`;
  const isQuery = method === 'GET' && example !== undefined;
  const body = isQuery ? undefined : example;
  const fields = [
    // A field of another name may contain a key.
    ...Object.entries(probe?.headers ?? {}).filter(([name]) => /version$/i.test(name)),
    ...(body === undefined || body.startsWith('{')
      ? []
      : [['Content-Type', 'application/x-www-form-urlencoded']]),
  ];
  const options = [
    ...(method === (body === undefined ? 'GET' : 'POST') ? [] : ['-X', method]),
    ...fields.flatMap((field) => ['-H', shellQuoted(field.join(': '))]),
    ...(body === undefined ? [] : ['-d', shellQuoted(body)]),
  ];
  return `# ${words}\n${['sidekey fetch', shellQuoted(isQuery ? `${url}?${example}` : url), ...options].join(' ')}`;
}

/** Returns the outcome for a caller without a token. Values of the path are unknown, so it is no promise. */
function outcomeOf({ host, method, path }: Call, map: DomainMap): string | null {
  const authority = parseAuthority(host, 'https');
  const domain = authority === null ? null : map.match(authority);
  if (authority === null || domain === null) return null;
  const { action, rules } = domain;
  if (action.kind !== 'grant') return action.kind;
  if (rules === undefined || rules.mode === 'report') return 'allow';
  return evaluateRules(rules, { ...plainRequest, authority, method, path }).outcome;
}

function rulesOf(hosts: readonly string[], map: DomainMap, provider: string): string {
  return hosts
    .map((host) => {
      const authority = parseAuthority(host, 'https');
      const domain = authority === null ? null : map.match(authority);
      if (domain === null || domain.action.kind === 'tunnel')
        return `- \`${host}\`: no credential; ask for \`sidekey domain allow ${host} --grant ${provider}\``;
      if (domain.action.kind === 'deny') return `- \`${host}\`: refused`;
      const { rules } = domain;
      if (rules === undefined || rules.mode === 'report') return `- \`${host}\`: every request is allowed`;
      return [
        `- \`${host}\`, for a caller without a token:`,
        ...rulesFor(rules, plainRequest).map(
          (rule) => `  - ${describeRule(rule)}: ${outcomes[rule.outcome]}`,
        ),
        `  - anything else: ${outcomes[rules.default]}`,
      ].join('\n');
    })
    .join('\n');
}

/** Returns the field for a missing scope, if `connect` can ask the service for scopes. */
function hintFor({ name, flows }: Provider, calls: readonly Call[]): string {
  const scope = calls.flatMap(({ scopes = [] }) => scopes).at(-1);
  if (scope === undefined || flows.length === 0) return '';
  const hint = hintText(hintOf`${remedy('connect', { provider: name, scopes: [scope] })}`);
  return ` If a scope is missing, the answer has this field with the
  scope in question. Tell the person its command, and your purpose:

  \`\`\`text
  Sidekey-Hint: ${hint}; ${howToPropose}
  \`\`\`
`;
}
