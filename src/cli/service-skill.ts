import { join } from 'node:path';
import type { Operation, Provider } from '../domain/provider.ts';
import { packageRoot, packageText } from '../lib/package-files.ts';
import { shellQuoted } from '../lib/text.ts';
import { ruleLines } from '../proxy/discovery.ts';
import { parseAuthority } from '../proxy/policy/authority.ts';
import { createDomainMap, type Domain } from '../proxy/policy/domain-map.ts';
import { evaluateRules } from '../proxy/policy/judge.ts';
import { plainRequest, rulesFor } from '../proxy/policy/rule.ts';

/** Request of the API at a host, with the entry of the host. */
type Call = Operation & { readonly host: string; readonly domain: Domain | null };

/**
 * Renders the skill of a provider with operations.
 *
 * @param domains allowed-domains map with its rules; null: the skill is for other machines too
 */
export function serviceSkill(provider: Provider, domains: readonly Domain[] | null): string {
  const { name, title, audience } = provider;
  const map = createDomainMap(domains ?? []);
  const calls = provider.operations.map((operation): Call => {
    const host = operation.host ?? (audience[0] ?? '').replace('*', '{host}');
    const authority = parseAuthority(host, 'https');
    return { ...operation, host, domain: authority && map.match(authority) };
  });
  const places = new Map(calls.map(({ host, domain }) => [host, domain]));
  const allowed = calls.filter(isAllowed);
  const [first, ...others] = allowed.length === 0 ? calls : allowed;
  const writing = others.find(({ method, example }) => method !== 'GET' && example !== undefined);
  const tasks = calls.slice(0, 8).map(({ words }) => words);
  const about = `Calls ${title} (${[...places.keys()].join(', ')}) through the Sidekey proxy, which adds the credential.`;
  const parts: Readonly<Record<string, string>> = {
    name,
    title,
    description: JSON.stringify(`${about} Use it to ${tasks.join(', ')}.`),
    examples: [first, writing].flatMap((call) => (call ? [exampleOf(call, provider)] : [])).join('\n'),
    requests: calls.map(lineOf).join('\n'),
    rules:
      domains === null
        ? 'They differ between machines.'
        : [...places].map(([host, domain]) => rulesOf(host, domain, name)).join('\n'),
  };
  const page = packageText(join(packageRoot, 'skills', 'service.md'));
  return page.replaceAll(/%(\w+)%/g, (_, part: string) => parts[part]!);
}

function lineOf({ words, method, host, path, example, scopes = [] }: Call): string {
  const given = example === undefined ? '' : `, ${method === 'GET' ? 'query' : 'body'} \`${example}\``;
  const needed = scopes.length === 0 ? '' : `, scope ${scopes.map((scope) => `\`${scope}\``).join(' or ')}`;
  return `- ${words}: \`${method} https://${host}${path}\`${given}${needed}`;
}

/** Returns a command with the names of the path in capitals. */
function exampleOf({ words, method, host, path, example = '' }: Call, { probe }: Provider): string {
  const [query, body] = method === 'GET' ? [example, ''] : ['', example];
  const url = `https://${host}${path}`.replaceAll(/\{.*?\}/g, (slot) =>
    slot.replaceAll(/[{+}]/g, '').toUpperCase(),
  );
  // A field of another name may contain a key.
  const fields = Object.entries(probe?.headers ?? {}).filter(([name]) => /version$/i.test(name));
  if (/^[^{]/.test(body)) fields.push(['Content-Type', 'application/x-www-form-urlencoded']);
  const options = [
    ...(method === (body === '' ? 'GET' : 'POST') ? [] : ['-X', method]),
    ...fields.flatMap((field) => ['-H', shellQuoted(field.join(': '))]),
    ...(body === '' ? [] : ['-d', shellQuoted(body)]),
  ];
  const target = shellQuoted(query === '' ? url : `${url}?${query}`);
  return `# ${words}\n${['sidekey fetch', target, ...options].join(' ')}`;
}

/** Reports whether a caller without a token may send it. No promise: the values of the path are unknown. */
function isAllowed({ method, path, domain }: Call): boolean {
  if (domain?.action.kind !== 'grant') return false;
  const { rules } = domain;
  return rules === undefined || evaluateRules(rules, { ...plainRequest, method, path }).outcome === 'allow';
}

function rulesOf(host: string, domain: Domain | null, provider: string): string {
  if (domain?.action.kind !== 'grant')
    return `- \`${host}\`: no credential; ask for \`sidekey domain allow ${host} --grant ${provider}\``;
  const { rules } = domain;
  if (rules === undefined) return `- \`${host}\`: everything is allowed`;
  const lines = ruleLines({ ...rules, list: rulesFor(rules, plainRequest), readOnly: false });
  return [`- \`${host}\`, for a caller without a token:`, ...lines].join('\n');
}
