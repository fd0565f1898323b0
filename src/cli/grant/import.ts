import type { State } from '../../app/state.ts';
import { type Context, withUpstreamClient } from '../context.ts';
import { details } from '../display.ts';
import { counted, expiryOf } from '../../operations/format.ts';
import { accountText, certificateRows, scopesOf } from './format.ts';
import { certificateAnswer, grantAnswer } from '../../operations/grant-answer.ts';
import {
  alreadyThere,
  type EntryOptions,
  hostPattern,
  prepare,
  type Prepared,
} from '../../operations/credential-entry.ts';
import { domainsOf } from '../../operations/lookup.ts';
import { entryError, inEntry, readEntries } from '../../grants/credential-input.ts';
import { readSecretFile } from '../terminal.ts';
import { accountOf, clockOf, type Credential } from '../../domain/credential.ts';
import { type Grant, hasEnded, stateNow, titleOf } from '../../domain/grant.ts';
import type { Provider } from '../../domain/provider.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { shellWord } from '../../lib/text.ts';
import { isWithin } from '../../proxy/policy/domain-map.ts';
import { detailed, findExact, keepGrant, type KeptGrant } from '../../grants/keep.ts';
import { assertWorks, type Verification } from '../../grants/verify.ts';

export interface ImportOptions extends EntryOptions {
  readonly file?: string;
  readonly replace?: boolean;
  /** False: stores the credentials unverified. */
  readonly verify?: boolean;
}

const question = 'Paste the credential (it is not shown); after JSON or PEM, an empty line';

/** `sidekey grant import`: verifies all credentials of the input before it writes the first. */
export async function importGrants(
  context: Context,
  name: string | undefined,
  options: ImportOptions,
): Promise<void> {
  const { output, now } = context;
  const { providers } = await context.readConfig();
  const { file } = options;
  const text =
    file === undefined || file === '-'
      ? ((await context.ask?.(question, { secret: true, hasLines: true })) ?? (await context.readInput()))
      : await readSecretFile('--file', file, output);
  const entries = readEntries(text, { now });
  const isOne = entries.length === 1;
  if (!isOne && (name !== undefined || options.audience !== undefined)) {
    const what = name === undefined ? '--audience' : 'The argument NAME';
    throw new SidekeyError(
      'input_invalid',
      `${what} is for one credential, and the input has ${entries.length}.`,
      {
        hint: 'leave it out; each object has a "name", and a "provider" where that is another word',
      },
    );
  }
  const prepared = entries.map((entry, index) =>
    isOne
      ? prepare(entry, name, options, providers)
      : inEntry(index, entry.name, () => prepare(entry, undefined, options, providers)),
  );
  const stored = await context.withState(async (state) => {
    const seen = new Set<string>();
    for (const { wanted } of prepared) {
      const key = JSON.stringify([wanted.user, wanted.name]);
      if (seen.has(key)) {
        throw new SidekeyError('input_invalid', `The name ${wanted.name} is twice in the input.`, {
          hint: 'name each credential with "name"',
        });
      }
      seen.add(key);
      const existing = options.replace === true ? null : await findExact(state.grants, wanted);
      if (existing !== null) throw alreadyThere(existing, wanted);
    }
    const checks = await output.during(`Verifying ${counted(prepared.length, 'credential')}`, () =>
      verifyAll(context, state, prepared, options.verify !== false),
    );
    const kept: KeptGrant[] = [];
    for (const [index, { wanted, credential, audience }] of prepared.entries()) {
      const keepsOut = (existing: Grant) =>
        options.replace === true ? null : alreadyThere(existing, wanted);
      const rest = { event: 'grant.added', keepsOut, now } as const;
      kept.push(
        await keepGrant(state, wanted, { credential, audience, ...detailed(checks[index]?.details) }, rest),
      );
    }
    const all = await state.grants.list();
    return kept.map(({ grant, replaced }, index) => {
      const domains = domainsOf(grant, all, state.config.domains).map(({ pattern }) => pattern.text);
      return { ...prepared[index]!, check: checks[index]!, grant, replaced, domains };
    });
  });

  const at = now();
  const told = stored.map(({ grant, replaced, domains, credential, audience, warnings, check }) => {
    if (hasEnded(grant, at) && !grant.refreshable) {
      warnings.push(
        'Its token has ended already, and there is no refresh token.\n  → import it again with --replace',
      );
    }
    return {
      json: {
        ...grantAnswer(grant, at),
        ...certificateAnswer(credential),
        account: accountOf(check.details),
        account_details: check.details ?? {},
        audience,
        domains,
        replaced,
        verified: check.verified,
        warnings,
      },
      text: details(
        output.display,
        replaced ? `Replaced the credential of ${titleOf(grant)}.` : `Stored ${titleOf(grant)}.`,
        {
          provider: grant.provider,
          user: grant.user,
          account: accountText(check.details ?? {}),
          type: grant.type,
          ...certificateRows(credential, at),
          state: stateNow(grant, at),
          check: check.says,
          scopes: scopesOf(grant),
          expires: expiryOf(grant, at),
          'refresh token': grant.refreshable ? 'yes' : 'no',
          audience: audience.join(', '),
        },
      ),
    };
  });
  output.result(
    isOne ? told[0]?.json : told.map(({ json }) => json),
    told.map(({ text }) => text).join('\n'),
  );
  for (const { grant, domains, audience, warnings } of stored) {
    for (const warning of warnings) output.say(`Note: ${isOne ? '' : `${titleOf(grant)}: `}${warning}`);
    if (domains.length > 0) continue;
    const [host = 'HOST'] = audience;
    output.say(`No domain uses it yet:\n  → sidekey domain allow ${shellWord(host)} --grant ${grant.name}`);
  }
}

/**
 * Verifies the credentials one after the other. Skips those that no request can carry now.
 *
 * @throws SidekeyError as `assertWorks`, with the number of the entry if there are several
 */
function verifyAll(
  context: Context,
  state: State,
  prepared: readonly Prepared[],
  isWanted: boolean,
): Promise<readonly Verification[]> {
  const { config } = state;
  return withUpstreamClient(config, context.env, async (upstream) => {
    const checks: Verification[] = [];
    for (const [index, { wanted, provider, credential, audience, isUnusable }] of prepared.entries()) {
      const why = isUnusable ? 'no request can carry it' : whyNotNow(credential, audience, provider, context);
      if (isWanted && why !== null) {
        checks.push({ verified: false, says: `not verified: ${why}` });
        continue;
      }
      const signal = AbortSignal.timeout(config.limits.refresh_timeout);
      const request = { provider, user: wanted.user, upstream, signal, state };
      const check = assertWorks(request, { credential, audience }, { isIssued: false, isWanted });
      checks.push(
        await check.catch((error: unknown) => {
          throw prepared.length === 1 ? error : entryError(index, wanted.name, error);
        }),
      );
    }
    return checks;
  });
}

/** Returns why a credential cannot be verified now; null: it can. */
function whyNotNow(
  credential: Credential,
  audience: readonly string[],
  { probe }: Provider,
  { now }: Pick<Context, 'now'>,
): string | null {
  // Only the proxy presents certificates.
  if (credential.type === 'client_certificate') return 'it is a certificate';
  const clock = clockOf(credential, now(), 0);
  if (clock === 'absent') return 'it has no access token yet';
  if (clock === 'ended') return 'its token has ended';
  const host = probe === null ? null : new URL(probe.url).host;
  if (host === null || isWithin(audience, hostPattern('probe', host))) return null;
  return `the check goes to ${host}, which is not in its audience`;
}
