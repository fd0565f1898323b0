import type { Config } from '../../config/config.ts';
import { bytesText, likeText, type Question, unshownText } from '../../domain/approval.ts';
import { accountOf } from '../../domain/credential.ts';
import { defaultUser } from '../../domain/grant.ts';
import type { Registry } from '../../grants/registry.ts';
import { untrusted } from '../../lib/text.ts';
import { parseJsonPath } from '../../proxy/policy/parameters.ts';
import type { ApprovalQueue } from './queue.ts';

/** Texts about a pending request, the same on its page and in the API. */

/** Facts about a question that are not stored with it. */
export interface KnownFacts {
  /** The body as a text; null: it cannot be shown. */
  readonly body: string | null;
  /** Name of the person or team at the service; null: nothing names it. */
  readonly account: string | null;
  readonly named: readonly NamedParameter[];
}

/** A parameter of the query or the body that the rule restricts. */
interface NamedParameter {
  /** Name or path of the parameter in the config. */
  readonly path: string;
  /** Name of the parameter in the body. */
  readonly member: string;
}

/** Texts about a question that a person reads. Deceptive characters of an agent are escaped. */
export type Card = ReturnType<typeof cardOf>;

/** A text in parts. Those with a parameter that the rule restricts are marked. */
export interface Quote {
  readonly caption: string;
  readonly parts: readonly { readonly text: string; readonly named: boolean }[];
}

/** Returns the card of a question. */
export function cardOf(
  question: Question,
  { body, account, named }: KnownFacts = { body: null, account: null, named: [] },
) {
  const { who, method, scheme, authority, path, query, operation, bodyBytes, purpose, reason } = question;
  const { fields, client, grantName, provider, grantUser, rule, ruleName } = question;
  const asker = who.agent ?? 'a caller without a token';
  const facts: readonly (readonly [name: string, value: string | null])[] = [
    ['With', body === null ? unshownText({ query: null, bodyBytes }) : null],
    ['Who', `${asker}, from ${client}`],
    ['Lease', who.lease && `${who.lease}${purpose === null ? '' : `, made for: ${purpose}`}`],
    ['Account', `${grantName} (${provider})${grantUser === defaultUser ? '' : ` of the user ${grantUser}`}`],
    ['Signed in as', account],
    ['Rule', ruleName === null ? rule : `${ruleName}, ${rule}`],
    ['It is about', named.map(({ path }) => path).join(', ') || null],
    ['Reason', reason === null ? 'The agent gave no reason.' : null],
  ];
  return {
    title: `May ${untrusted(asker)} ${operation ?? 'send this request'}?`,
    method: untrusted(method),
    url: untrusted(`${scheme}://${authority}${path}${query === null ? '' : `?${query}`}`),
    /** Header fields and trailers, the body, and the reason of the agent; absent ones are omitted. */
    quotes: [
      ...(fields.length === 0
        ? []
        : [quoteOf(`Its header fields that are not common, ${fields.length}`, fields)]),
      ...(body === null ? [] : [bodyQuote(body, named)]),
      ...(reason === null ? [] : [quoteOf('The agent’s own words, which nobody has checked', [reason])]),
    ],
    facts: facts.flatMap(([name, value]) => (value === null ? [] : [{ name, value: untrusted(value) }])),
    like: likeText(question),
  };
}

/** A text, number or literal of JSON; empty before an object or a list. */
const scalar = String.raw`"(?:[^"\\]|\\.)*"|[^\s,{}[\]"]*`;

function quoteOf(caption: string, lines: readonly string[]): Quote {
  return { caption, parts: [{ text: lines.map(untrusted).join('\n'), named: false }] };
}

function bodyQuote(body: string, named: readonly NamedParameter[]): Quote {
  const lines = body.split(/\r?\n/);
  const size = `${bytesText(Buffer.byteLength(body))}, ${lines.length} ${lines.length === 1 ? 'line' : 'lines'}`;
  const quote = quoteOf(`Its body, ${size}`, lines);
  if (named.length === 0) return quote;
  const names = named.map(({ member }) => untrusted(member).replace(/[^\p{L}\p{N}]/gu, '\\$&')).join('|');
  const parameter = new RegExp(`("(?:${names})"\\s*:\\s*(?:${scalar})|(?<=^|&)(?:${names})=[^&]*)`);
  const parts = quote.parts[0]!.text.split(parameter).map((text, index) => ({
    text,
    named: index % 2 === 1,
  }));
  return { ...quote, parts };
}

interface KnownParts {
  readonly queue: Pick<ApprovalQueue, 'body'>;
  readonly grants: Pick<Registry, 'open'>;
  readonly config: Pick<Config, 'domains'>;
}

/** Reads what the running proxy knows about a question. @throws SidekeyError `store_unavailable` */
export async function knownFacts(
  { id, who }: Question,
  { queue, grants, config }: KnownParts,
): Promise<KnownFacts> {
  const account = accountOf((await grants.open(who.grantId))?.sealed.details);
  return { body: queue.body(id), account, named: namedParameters(who, config) };
}

/** Returns the parameters that the rules of a question restrict. A rule that has changed has another key. */
export function namedParameters(
  { ruleKey }: Question['who'],
  { domains }: Pick<Config, 'domains'>,
): readonly NamedParameter[] {
  const [keys = ''] = ruleKey.split('\n', 1);
  const rules = domains.flatMap(({ rules: all }) => all?.rules ?? []);
  return rules
    .filter(({ rule }) => keys.split(' ').includes(rule.key))
    .flatMap(({ rule: { conditions } }) => {
      const { query, form, json, jsonrpc } = conditions;
      const inJson = [...(json?.keys() ?? []), ...(jsonrpc?.arguments?.keys() ?? [])];
      const members = inJson.map((path) => ({
        path,
        member: parseJsonPath(path)?.findLast((step) => typeof step === 'string') ?? path,
      }));
      const names = [...(query?.keys() ?? []), ...(form?.keys() ?? [])];
      return [...members, ...names.map((name) => ({ path: name, member: name }))];
    });
}
