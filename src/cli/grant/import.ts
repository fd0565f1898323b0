import type { State } from '../../app/state.ts';
import { type Context, withUpstreamClient } from '../context.ts';
import { details } from '../display.ts';
import { checkName, counted } from '../format.ts';
import {
  accountText,
  certificateJson,
  certificateMisfit,
  certificateRows,
  expiryOf,
  grantJson,
  scopesOf,
} from './format.ts';
import { refreshGapOf } from './refresh.ts';
import { domainsOf, findProvider } from '../pick.ts';
import { type CredentialEntry, entryError, inEntry, readEntries } from '../../grants/credential-input.ts';
import { readSecretFile } from '../terminal.ts';
import type { Config } from '../../config/config.ts';
import { clockOf, type Credential, isRefreshable, accountOf } from '../../domain/credential.ts';
import { defaultUser, type Grant, hasEnded, stateNow, titleOf } from '../../domain/grant.ts';
import type { Provider } from '../../domain/provider.ts';
import type { NewGrant } from '../../grants/registry.ts';
import { replaceCommand } from '../../grants/token-result.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { shellWord } from '../../lib/text.ts';
import { type DomainPattern, isPattern, isWithin, parsePattern } from '../../policy/domain-map.ts';
import { fieldsFor } from '../../schemes/apply.ts';
import { detailed, findExact, keepGrant, type KeptGrant } from '../../grants/keep.ts';
import { assertWorks, type Verification } from '../../grants/verify.ts';

export interface ImportOptions {
  readonly provider?: string;
  readonly file?: string;
  readonly user?: string;
  readonly audience?: readonly string[];
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
        ...grantJson(grant, at),
        ...certificateJson(credential),
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

/** A storable credential. */
export interface Prepared {
  readonly wanted: NewGrant;
  readonly provider: Provider;
  readonly credential: Credential;
  readonly audience: readonly string[];
  /** True if no request can carry it as the provider requires. */
  readonly isUnusable: boolean;
  readonly warnings: string[];
}

/** @throws SidekeyError `input_invalid`, `provider_unknown` */
export function prepare(
  entry: CredentialEntry,
  argument: string | undefined,
  options: ImportOptions,
  providers: Config['providers'],
): Prepared {
  const word = entry.provider ?? options.provider ?? argument ?? entry.name;
  if (word === null) {
    throw new SidekeyError('input_invalid', 'The provider of the credential is missing.', {
      hint: 'sidekey grant import NAME --provider PROVIDER; sidekey provider list shows them',
    });
  }
  const name = argument ?? entry.name ?? word;
  const user = options.user ?? entry.user ?? defaultUser;
  checkName('name of the grant', name);
  checkName('name of the user', user);
  const provider = findProvider(providers, word);
  const audience = chooseAudience(options.audience, provider);
  const credential = withoutUnbound(entry.credential, provider);
  const warnings: string[] = [];
  const warn = (sentence: string, hint: string) => warnings.push(`${sentence}\n  → ${hint}`);
  const gap = refreshGapOf(credential, provider);
  if (gap !== null) {
    const hasToken = credential.type === 'oauth2' && credential.accessToken !== null;
    if (!hasToken) throw new SidekeyError('input_invalid', gap.sentence, { hint: gap.hint });
    warn(`${gap.sentence} The access token works until it expires.`, gap.hint);
  }
  const misfit = certificateMisfit(credential, provider);
  const uncarried = misfit === null ? carriageMisfit(credential, provider) : null;
  if (misfit !== null) warn(misfit.sentence, misfit.hint);
  if (uncarried !== null) warn(`No request can carry it: ${uncarried.message}`, uncarried.hint ?? '');
  const wider = audience.filter((text) => {
    const pattern = parsePattern(text);
    return !isPattern(pattern) || !isWithin(provider.audience, pattern);
  });
  if (wider.length > 0 && provider.audience.length > 0) {
    warn(
      `The credential may now also be sent to ${wider.join(', ')}, which the provider ${provider.name} does not name.`,
      'if this is not intended, import it again with --replace and without --audience',
    );
  }

  const wanted = { name, user, provider: provider.name, scopes: entry.scopes };
  const isUnusable = misfit !== null || uncarried !== null;
  return { wanted, provider, credential, audience, isUnusable, warnings };
}

/**
 * Removes the access token if the provider requires bound tokens, because imported tokens are not bound to a
 * key of Sidekey. The first use requests a bound one.
 *
 * @throws SidekeyError `input_invalid`: no token can be requested
 */
function withoutUnbound(credential: Credential, provider: Provider): Credential {
  if (credential.type !== 'oauth2' || provider.dpop === null) return credential;
  if (isRefreshable(credential)) return { ...credential, accessToken: null };
  throw new SidekeyError(
    'input_invalid',
    `The tokens of ${provider.name} are bound to a key that is made here, and this one is bound to none.`,
    { hint: `sidekey connect ${provider.name}, or add "refresh_token" to the JSON` },
  );
}

export function alreadyThere(
  existing: Grant,
  wanted: Pick<Grant, 'name' | 'user' | 'provider'>,
): SidekeyError {
  return new SidekeyError('already_exists', `There is a grant ${titleOf(existing)} already.`, {
    hint: replaceCommand(wanted),
  });
}

/**
 * Returns the hosts that a new credential may be sent to: those of the options, else of the provider.
 *
 * @throws SidekeyError `input_invalid` if there is none, or one is invalid
 */
export function chooseAudience(named: readonly string[] | undefined, provider: Provider): readonly string[] {
  if (named !== undefined) return [...new Set(named.map((text) => hostPattern('--audience', text).text))];
  if (provider.audience.length > 0) return provider.audience;
  throw new SidekeyError(
    'input_invalid',
    `The provider ${provider.name} names no hosts for its credentials.`,
    {
      hint: 'name the hosts that this one may be sent to: --audience HOST',
    },
  );
}

/** Parses the host of an option. @throws SidekeyError `input_invalid` */
export function hostPattern(option: string, text: string): DomainPattern {
  const pattern = parsePattern(text);
  if (isPattern(pattern)) return pattern;
  throw new SidekeyError('input_invalid', `${option}: ${JSON.stringify(text)} ${pattern.problem}.`, {
    hint: 'write host, host:port or *.suffix, such as api.example.com',
  });
}

/** Returns the error if no request could carry a credential; null: some can, or there is no token yet. */
function carriageMisfit(credential: Credential, { inject }: Pick<Provider, 'inject'>): SidekeyError | null {
  if (credential.type === 'oauth2' && credential.accessToken === null) return null;
  const ways = inject.flatMap(({ as }) => (as.kind === 'own' ? [] : [as]));
  let misfit: SidekeyError | null = null;
  for (const plan of ways) {
    try {
      fieldsFor(credential, plan);
      return null;
    } catch (error) {
      if (!(error instanceof SidekeyError)) throw error;
      misfit ??= error;
    }
  }
  return misfit;
}
