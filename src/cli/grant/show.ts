import { grantEnded, extendRemedy } from '../../agents/permissions.ts';
import { type ProxyConfig, tokenlessCallers } from '../../config/proxy.ts';
import { titleOf } from '../../domain/grant.ts';
import { replaceRemedy } from '../../grants/token-result.ts';
import { inputInvalid } from '../../lib/errors.ts';
import { hintText, withHint } from '../../lib/hint.ts';
import { dateTime, expiryOf, lastUse, relativeTime, shortId } from '../../operations/format.ts';
import { soonEndOf, stateOf } from '../../operations/grant-answer.ts';
import { isUnbound, type Lacked } from '../../operations/grant-facts.ts';
import { getPlaceholder } from '../../operations/grant-placeholder.ts';
import { getGrant, listGrants, type ShownGrant } from '../../operations/grant.ts';
import type { CommandRow } from '../command.ts';
import type { Context } from '../context.ts';
import { details, table } from '../display.ts';
import { leaseEndText } from '../../operations/lease-text.ts';
import { type GivenOptions, optionRows, pageWords, perform, sayNext } from '../operation-command.ts';
import { carriedAs } from '../../proxy/schemes/placement.ts';
import { accountText, certificateRows, clockRows, scopesOf, settingsRows } from './format.ts';

/** Words and texts of `sidekey grant list`: all grants, one grant, or its placeholder. */

const ownerWords = { user: { summary: 'only the grants of this owner', value: 'name' } } as const;

const listWords = {
  ...ownerWords,
  all: { summary: 'also the minted grants, which belong to another grant' },
  ...pageWords,
} as const;

const placeholderWords = {
  agent: { summary: 'placeholder for this agent, under any of its leases', value: 'name' },
  lease: { summary: 'placeholder for the holder of this lease only', value: 'id' },
  form: {
    summary: "of the placeholder: provider, plain or jwt (default: as the provider's credentials)",
  },
} as const;

async function list(
  context: Context,
  grant: string | undefined,
  { placeholder, ...options }: GivenOptions,
): Promise<void> {
  if (grant !== undefined && placeholder === true) return showPlaceholder(context, grant, options);
  const { user, all, limit, cursor, ...forPlaceholder } = options;
  if (placeholder === true || Object.keys(forPlaceholder).length > 0) {
    throw inputInvalid(
      '--agent, --lease and --form belong to --placeholder, which needs a grant.',
      `sidekey grant show ${grant ?? 'GRANT'} --placeholder`,
    );
  }
  return grant === undefined
    ? showAll(context, { user, all, limit, cursor })
    : showGrant(context, grant, { user });
}

async function showPlaceholder(context: Context, grant: string, options: GivenOptions): Promise<void> {
  const words = { ...ownerWords, ...placeholderWords };
  const { result, answer } = await perform(context, getPlaceholder, { words, options, fixed: { grant } });
  context.output.result(answer, result);
}

/** Milliseconds before an end from which a warning is printed. */
const nearMs = 7 * 86_400_000;

async function showAll(context: Context, options: GivenOptions): Promise<void> {
  const { output } = context;
  const { result, answer, at } = await perform(context, listGrants, { words: listWords, options });
  const { locked, next } = result;
  const entries = result.entries.map((entry) => ({ ...entry, end: entry.policy?.expiresAt ?? null }));
  const hasAccounts = entries.some(({ account }) => account !== null);
  const hasMinted = entries.some(({ minted }) => minted.length > 0);
  const hasEnds = entries.some(({ end }) => end !== null);
  const cells = entries.map(({ grant, minted, policy, account, usedAt, end }) => ({
    NAME: grant.name,
    PROVIDER: grant.provider,
    USER: grant.user,
    ...(hasAccounts && { ACCOUNT: account ?? '-' }),
    STATE: stateOf(grant, policy, at),
    ...(locked === null && {
      SCOPES: scopesOf(grant),
      'TOKEN EXPIRES': expiryOf(grant, at),
      'LAST USED': lastUse(usedAt, at),
    }),
    ...(hasMinted && { MINTED: mintedText(minted, at) ?? '-' }),
    ...(hasEnds && { EXPIRES: end === null ? 'no end' : relativeTime(end, at) }),
  }));
  const [headings, rows] = [Object.keys(cells[0] ?? {}), cells.map((row) => Object.values(row))];
  const near = entries.flatMap(({ grant, policy, end, soonEnd }) => {
    const soon = soonEnd === null ? [] : [soonEnd.sentence, `  → ${hintText(soonEnd.hint)}`];
    if (end === null || end - at > nearMs) return soon;
    const verb = end <= at ? 'expired' : 'expires';
    return [
      ...soon,
      `${titleOf(grant)} ${verb} ${relativeTime(end, at)}.`,
      `  → ${hintText(extendRemedy(grant, policy))}`,
    ];
  });
  const least = ['USER', 'ACCOUNT', 'LAST USED', 'SCOPES', 'PROVIDER', 'TOKEN EXPIRES'];
  output.result(
    locked === null ? answer : answer.map((grant) => ({ ...grant, scopes: null })),
    entries.length === 0
      ? 'There are no grants yet.\n  → sidekey connect PROVIDER'
      : [table(output.display, headings, rows, { least }), ...near].join('\n'),
  );
  sayNext(context, next);
  if (locked === null) return;
  output.say(`Only names and states are shown, because the master key is not available: ${locked.message}`);
  output.say(`  → ${hintText(locked.hint)}`);
}

async function showGrant(context: Context, reference: string, options: GivenOptions): Promise<void> {
  const { output } = context;
  const given = { words: ownerWords, options, fixed: { grant: reference } };
  const { result, answer, at } = await perform(context, getGrant, given);
  const { grant, sealed, policy, client, clocks, lacked, domains, provider } = result;
  output.result(
    answer,
    details(output.display, grant.name, {
      id: grant.id,
      provider: grant.provider,
      user: grant.user,
      account: accountText(sealed.details ?? {}),
      type: grant.type,
      source: result.source,
      'grant type': client.grantType?.replaceAll('_', ' ') ?? null,
      'client id': client.id,
      ...certificateRows(sealed.credential, at),
      state: stateOf(grant, policy, at),
      because: grant.stateReason,
      scopes: scopesOf(grant),
      'missing scopes': lackedText(lacked, at),
      ...clockRows(grant, clocks, at),
      'renewed by': result.renewed?.replaceAll('_', ' ') ?? 'nothing',
      'bound to': boundKeyText(result),
      minted: mintedText(result.minted, at),
      'minted by': grant.parent === null ? null : `${grant.mint} of ${grant.parent}`,
      audience: sealed.audience.join(', '),
      'used by': domains.length === 0 ? 'no domain' : domains.join(', '),
      ...reachedByRows(result.reached, result.proxy, at),
      ...settingsRows(policy, at),
      fingerprint: result.fingerprint,
      created: `${dateTime(grant.createdAt)} (${relativeTime(grant.createdAt, at)})`,
      updated: `${dateTime(grant.updatedAt)} (${relativeTime(grant.updatedAt, at)})`,
      revision: String(grant.revision),
    }),
  );
  const ended = grantEnded(grant, policy, at);
  if (ended !== null) output.say(withHint(ended.message, ended.hint));
  const soonEnd = ended === null ? soonEndOf(grant, provider, at) : null;
  if (soonEnd !== null) output.say(withHint(soonEnd.sentence, soonEnd.hint));
  if (clocks.next.what === 'consent') output.say(`  → ${hintText(replaceRemedy(grant, [], provider))}`);
  if (lacked !== null) output.say(`  → ${lacked.command}`);
  if (domains.length === 0) output.say(`  → sidekey domain allow HOST --grant ${grant.name}`);
}

/** Text for a person: `read:org (2 h ago)`; null: no scope is lacking. */
export function lackedText(lacked: Lacked | null, now: number): string | null {
  if (lacked === null) return null;
  const { at, scopes } = lacked;
  return `${scopes.length === 0 ? 'not named' : scopes.join(' ')} (${relativeTime(at, now)})`;
}

/** Text about the minted grants of a grant, such as `2 (copilot, in 14 minutes)`; null: none. */
function mintedText(minted: ShownGrant['minted'], now: number): string | null {
  const last = minted.toSorted((a, b) => (a.expiresAt ?? 0) - (b.expiresAt ?? 0)).at(-1);
  if (last === undefined) return null;
  const rows = [...new Set(minted.map(({ mint }) => mint))].join(', ');
  return `${minted.length} (${rows}, ${relativeTime(last.expiresAt ?? now, now)})`;
}

/** Rows about the agents bound to a grant, and the leases for it. */
function reachedByRows(
  { agents, leases }: ShownGrant['reached'],
  proxy: Pick<ProxyConfig, 'authentication' | 'localCallers'>,
  now: number,
): Readonly<Record<string, string | null>> {
  const names = agents.map(({ name, disabledAt }) => (disabledAt === null ? name : `${name} (disabled)`));
  const tokenless = tokenlessCallers(proxy);
  if (tokenless !== null) names.push(`${tokenless} without a token`);
  return {
    'reached by': names.length === 0 ? 'no agent' : names.join(', '),
    'active leases':
      leases.length === 0
        ? null
        : leases
            .map((lease) => `${shortId(lease.id)} of ${lease.agent}, ends ${leaseEndText(lease, now)}`)
            .join('; '),
  };
}

/** Line about the key; null: nothing to report. */
function boundKeyText({ sealed, provider, boundKey }: ShownGrant): string | null {
  if (isUnbound(sealed.credential, provider))
    return 'no key, though the provider is to bind its tokens to one';
  if (boundKey === null) return null;
  const { algorithm, thumbprint, isBound } = boundKey;
  return isBound
    ? `key ${thumbprint} (${algorithm}); ${carriedAs({ kind: 'dpop' })}`
    : `key ${thumbprint} (${algorithm}) from the next token on`;
}

export const listCommandRow: CommandRow = {
  name: 'list',
  alias: 'show',
  summary: 'list the grants, or show everything about one, except its secret',
  arguments: [['[grant]', 'its name or ID']],
  options: [
    ...optionRows(listGrants, listWords),
    ['--placeholder', 'print a placeholder that a program can hold in place of the credential'],
    ...optionRows(getPlaceholder, placeholderWords),
  ],
  examples: [
    'sidekey grant list',
    'sidekey grant show github',
    'sidekey grant show github --placeholder --agent ci',
  ],
  load: async () => list,
};
