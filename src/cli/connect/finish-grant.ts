import { allowCommand, allowDomains, type DomainChanges, type DomainPlan } from './allowed-domains.ts';
import type { FinishPage } from './browser/browser.ts';
import type { ConnectRequest } from './request.ts';
import type { Context } from '../context.ts';
import { details as lines } from '../display.ts';
import { relativeTime, expiryOf } from '../../operations/format.ts';
import { accountText, scopesOf } from '../grant/format.ts';
import { grantRemedy } from '../../operations/lookup.ts';
import { grantAnswer } from '../../operations/grant-answer.ts';
import { changeSettings } from '../../operations/grant-settings.ts';
import { askUnreadable } from '../status/ask-proxy.ts';
import { displayName } from '../../config/problem.ts';
import { type Grant, stateNow, titleOf } from '../../domain/grant.ts';
import type { Probe, Provider } from '../../domain/provider.ts';
import { replaceRemedy } from '../../grants/token-result.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { type Hint, hintOf, withHint } from '../../lib/hint.ts';
import { shellWord, withoutStop } from '../../lib/text.ts';
import { storeGrant } from '../../grants/connected.ts';
import { ungrantedScopes } from '../../grants/oauth/scopes.ts';
import type { Obtained } from '../../grants/keep.ts';
import type { Verification } from '../../grants/verify.ts';
import { accountOf } from '../../domain/credential.ts';

export async function report(
  context: Context,
  { title, probe }: Provider,
  connected: Connected,
): Promise<void> {
  const { output, now, configFile } = context;
  const { grant, replaced, audience, details, edits, ungranted, warnings, verification } = connected;
  const at = now();
  const file = await configFile();
  const said = edits.every(({ change }) => change === 'added') ? 'added to' : 'now in';
  output.result(
    {
      ...grantAnswer(grant, at),
      audience,
      account: accountOf(details),
      account_details: details,
      verified: verification.verified,
      replaced,
      ungranted_scopes: ungranted,
      domains: edits.map(({ pattern }) => pattern),
      warnings: warnings.map(({ sentence }) => sentence),
    },
    lines(output.display, replaced ? `Connected ${titleOf(grant)} again.` : `Connected ${titleOf(grant)}.`, {
      id: grant.id,
      provider: title === grant.provider ? title : `${grant.provider}: ${title}`,
      user: grant.user,
      account: accountText(details),
      state: stateNow(grant, at),
      check: verification.says,
      scopes: scopesOf(grant),
      expires: `${expiryOf(grant, at)}${grant.refreshable && grant.expiresAt !== null ? ', and is renewed before' : ''}`,
      audience: audience.join(', '),
      domains:
        edits.length === 0
          ? null
          : `${edits.map(({ pattern }) => pattern).join(', ')} (${said} ${displayName(file)})`,
    }) + nextSteps(connected, probe),
  );
  for (const { sentence, hint } of warnings) output.say(withHint(`Note: ${sentence}`, hint));
}

/** Returns the first call, and for a second account the options that select it. */
function nextSteps(
  { grant: { name }, audience, edits, others, reference }: Connected,
  probe: Probe | null,
): string {
  const first = others.find((grant) => grant.name === reference);
  // An existing entry may name another grant. A note reports it.
  const isSecond = name !== reference && (first !== undefined || edits.length > 0);
  const call = probe === null || probe.json !== null ? null : probe.url;
  const selected = isSecond ? ` --grant ${name}` : '';
  const fields = Object.entries(probe?.headers ?? {}).map(
    ([key, text]) => ` -H ${shellWord(`${key}: ${text}`)}`,
  );
  const [host] = call === null ? audience.filter((text) => !text.includes('*')) : [new URL(call).host];
  return [
    ...(call === null
      ? []
      : ['The first call:', `  → sidekey fetch ${shellWord(call)}${fields.join('')}${selected}`]),
    ...(isSecond
      ? [
          first === undefined
            ? `No grant is called ${reference}: each request must choose an account.`
            : `The grant ${first.name} stays the default. To use this account:`,
          `  → sidekey run --grant ${name} -- COMMAND`,
          `  → "+grant=${name}" in the user name of the proxy`,
          ...(host === undefined ? [] : [`  → ${allowCommand(host, name)}   (for every request to it)`]),
        ]
      : []),
  ]
    .map((line) => `\n${line}`)
    .join('');
}

export function connectedPage({ title }: Provider, { grant, warnings }: Connected): Omit<FinishPage, 'kind'> {
  return {
    title: `${title} is connected`,
    says: [
      `The grant is called ${titleOf(grant)}.${grant.refreshable ? ' Sidekey renews its token.' : ''}`,
      ...warnings.map(({ sentence }) => sentence),
      'You may close this window.',
    ],
  };
}

interface Warning {
  readonly sentence: string;
  readonly hint: Hint | null;
}

/** Result of a consent. */
export interface Connected {
  readonly grant: Grant;
  /** True if a grant of that name existed. It keeps its id. */
  readonly replaced: boolean;
  readonly audience: readonly string[];
  readonly details: Readonly<Record<string, string>>;
  readonly edits: DomainChanges['edits'];
  readonly reference: string;
  readonly others: readonly Grant[];
  /** Requested scopes that were not granted. */
  readonly ungranted: readonly string[];
  readonly warnings: readonly Warning[];
  readonly verification: Verification;
}

type FinishRequest = Omit<ConnectRequest, 'existing' | 'options'> & {
  /** The flow that obtained the credential. */
  readonly flow: string;
  readonly plan: DomainPlan;
  /** False: stores the credential unverified. */
  readonly verify: boolean | undefined;
  /** `--meta`; empty: none. */
  readonly metadata: Readonly<Record<string, string>>;
};

/**
 * Verifies and stores the credential, and allows the provider's hosts. Keeps the grant if the map fails.
 *
 * @throws SidekeyError errors of `storeGrant`
 */
export async function finishGrant(request: FinishRequest, obtained: Obtained): Promise<Connected> {
  const { context, state, provider, name, plan, flow } = request;
  const { credential, scopes } = obtained;
  const { audience, widened, grown, kept } = plan;
  const { grant, replaced, details, verification, unknown } = await storeGrant(
    {
      ...request,
      audience,
      reason: widened.length === 0 ? undefined : `widened to ${widened.join(', ')}`,
      now: context.now,
    },
    obtained,
    // A consent may still prompt for an address.
    flow === 'authorization_code'
      ? undefined
      : (check) => context.output.during(`Verifying the credential at ${provider.title}`, check),
  );
  const { metadata } = request;
  if (Object.keys(metadata).length > 0) await changeSettings(state, grant, { metadata }, context.now());
  const warnings: Warning[] = [];
  const warn = (sentence: string, hint: Hint | null) => warnings.push({ sentence, hint });

  if (unknown !== null) warn(`The account could not be asked for: ${withoutStop(unknown)}.`, null);
  // A pasted token has no requested scopes.
  const ungranted = credential.type === 'oauth2' ? ungrantedScopes(request.scopes, scopes) : [];
  if (ungranted.length > 0) {
    warn(`Asked for ${ungranted.join(' ')} too; the provider did not grant it.`, null);
  }
  if (widened.length > 0) {
    warn(
      `The credential may now also be sent to ${widened.join(', ')}, which the provider ${provider.name} does not name.`,
      hintOf`if that is not meant: ${grantRemedy('remove', grant)}, and connect without --widen`,
    );
  }
  if (kept.length > 0) {
    warn(
      `The credential may still be sent to ${kept.join(', ')}, which the grant had before and the provider ${provider.name} does not name.`,
      hintOf`if that is not meant: ${grantRemedy('remove', grant)}, and connect again`,
    );
  }
  if (grown.length > 0) {
    warn(`The credential may now also be sent to ${grown.join(', ')}, as the provider says.`, null);
  }
  if (!grant.refreshable && grant.expiresAt !== null && credential.type === 'oauth2') {
    warn(
      `There is no refresh token: the token ends ${relativeTime(grant.expiresAt, context.now())}, and then you must consent again.`,
      replaceRemedy(grant, [], provider, credential),
    );
  }
  const changes = await allowDomains(context, state, grant, plan).catch((error: unknown): DomainChanges => {
    if (!(error instanceof SidekeyError)) throw error;
    const [first = 'HOST'] = plan.entries;
    warn(`The allowed-domains map is as it was: ${error.message}`, allowCommand(first, name));
    return { edits: [], blocked: [], reference: name, others: [] };
  });
  const { edits, blocked, reference, others } = changes;
  for (const { pattern, says } of blocked) {
    warn(`${pattern} ${says}; not changed.`, allowCommand(pattern, name));
  }
  for (const { grant: id, sentence, hint } of await askUnreadable(state.config, state.vault)) {
    if (id === grant.id) warn(sentence, hint);
  }
  return {
    grant,
    replaced,
    audience,
    details,
    edits,
    reference,
    others,
    ungranted,
    warnings,
    verification,
  };
}
