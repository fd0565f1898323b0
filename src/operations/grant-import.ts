import { z } from 'zod';
import type { Config } from '../config/config.ts';
import { accountOf, clockOf, type Credential } from '../domain/credential.ts';
import { type Grant, hasEnded } from '../domain/grant.ts';
import { indexGrants } from '../domain/grant-index.ts';
import type { Provider } from '../domain/provider.ts';
import { entryError, inEntry, readEntries } from '../grants/credential-input.ts';
import { detailed, keepGrant, type KeptGrant } from '../grants/keep.ts';
import { assertWorks, type Verification } from '../grants/verify.ts';
import { inputInvalid } from '../lib/errors.ts';
import { isWithin } from '../proxy/policy/domain-map.ts';
import { alreadyThere, hostPattern, prepare, type Prepared } from './credential-entry.ts';
import { counted } from './format.ts';
import {
  account,
  accountDetails,
  certificate,
  certificateAnswer,
  grantAnswer,
  grantMembers,
} from './grant-answer.ts';
import { domainsByGrant } from './lookup.ts';
import { name, text } from './members.ts';
import { type Changing, changing } from './operation.ts';

/** Credentials that a person or a program has, as new grants. */

const texts = z.array(z.string());

const choices = {
  audience: z.array(text).min(1).optional(),
  replace: z.boolean().optional(),
  verify: z.boolean().optional().describe('False: store it without asking the provider.'),
};

const addedGrant = z
  .strictObject({
    ...grantMembers,
    account,
    account_details: accountDetails,
    audience: texts,
    domains: texts,
    replaced: z.boolean(),
    verified: z.boolean(),
    warnings: texts,
    certificate,
  })
  .meta({ id: 'AddedGrant' });

const importInput = z.strictObject({
  credentials: z.string().describe('A key or token, PEM, or JSON: an object or an array of objects.'),
  name: z.string().optional(),
  provider: z.string().optional(),
  user: z.string().optional(),
  ...choices,
});

type Wanted = z.output<typeof importInput>;

export const importGrants = changing({
  id: 'grant.import',
  summary: 'Store credentials that exist, after all of them were verified.',
  scope: 'grants:write',
  input: importInput,
  output: z.array(addedGrant),
  checkConfig: async (input, config, at) => void prepareAll(input, config, at),
  run: storeAll,
  answer: (added) => added.map(addedAnswer),
});

export const addGrant = changing({
  id: 'grant.add',
  summary: 'Store a credential that exists, after it was verified.',
  scope: 'grants:write',
  input: z.strictObject({
    name: name.optional(),
    provider: name,
    user: name.optional(),
    credential: z
      .union([z.string().min(1), z.record(z.string(), z.unknown())])
      .describe('A key or token, PEM, or JSON as `sidekey grant import` takes it.'),
    ...choices,
  }),
  output: addedGrant,
  async run(parts, { credential, name: given, ...input }, at) {
    const credentials = typeof credential === 'string' ? credential : JSON.stringify(credential);
    const added = await storeAll(parts, { ...input, credentials, name: given ?? input.provider }, at);
    return added[0]!;
  },
  answer: addedAnswer,
});

interface AddedGrant extends Prepared, KeptGrant {
  readonly check: Verification;
  /** Domains that use the grant. */
  readonly domains: readonly string[];
  /** Milliseconds since the epoch. */
  readonly at: number;
}

function addedAnswer({ grant, credential, check, at, ...added }: AddedGrant): z.input<typeof addedGrant> {
  return {
    ...grantAnswer(grant, at),
    ...certificateAnswer(credential),
    account: accountOf(check.details),
    account_details: check.details ?? {},
    audience: [...added.audience],
    domains: [...added.domains],
    replaced: added.replaced,
    verified: check.verified,
    warnings: added.warnings,
  };
}

/** @throws SidekeyError `input_invalid` */
function entriesOf({ credentials, name: given, audience }: Wanted, at: number) {
  const entries = readEntries(credentials, { now: () => at });
  if (entries.length === 1 || (given === undefined && audience === undefined)) return entries;
  const what = given === undefined ? '--audience' : 'The argument NAME';
  throw inputInvalid(
    `${what} is for one credential, and the input has ${entries.length}.`,
    'leave it out; each object has a "name", and a "provider" where that is another word',
  );
}

/** @throws SidekeyError as `prepare`, with the number of the entry if there are several */
function prepareAll(wanted: Wanted, { providers }: Pick<Config, 'providers'>, at: number): Prepared[] {
  const entries = entriesOf(wanted, at);
  const [only, ...more] = entries;
  if (only !== undefined && more.length === 0) return [prepare(only, wanted.name, wanted, providers)];
  return entries.map((entry, index) =>
    inEntry(index, entry.name, () => prepare(entry, undefined, wanted, providers)),
  );
}

/**
 * Verifies all credentials before it stores the first.
 *
 * @param at milliseconds since the epoch
 */
async function storeAll(parts: Changing, input: Wanted, at: number): Promise<readonly AddedGrant[]> {
  const { caller, config, during, grants, now } = parts;
  const wanted = { ...input, user: caller.user ?? input.user };
  const prepared = prepareAll(wanted, config, at);
  const refusalFor = (existing: Grant, next: Prepared['wanted']) =>
    wanted.replace === true ? null : alreadyThere(existing, next);
  const names = new Set<string>();
  for (const { wanted: next } of prepared) {
    const key = JSON.stringify([next.user, next.name]);
    if (names.has(key)) {
      throw inputInvalid(
        `The name ${next.name} appears twice in the input.`,
        'give each credential a "name" of its own, or remove the duplicate',
      );
    }
    names.add(key);
    const existing = await grants.named(next);
    const refusal = existing === null ? null : refusalFor(existing, next);
    if (refusal !== null) throw refusal;
  }
  const checks = await during(`Verifying ${counted(prepared.length, 'credential')}`, () =>
    verifyAll(parts, prepared, wanted.verify !== false),
  );
  const imported: KeptGrant[] = [];
  for (const [index, { wanted: next, credential, audience }] of prepared.entries()) {
    const sealed = { credential, audience, ...detailed(checks[index]?.details) };
    const keepsOut = (existing: Grant) => refusalFor(existing, next);
    imported.push(await keepGrant(parts, next, sealed, { event: 'grant.added', keepsOut, now }));
  }
  const domainsOf = domainsByGrant(config.domains, indexGrants(await grants.list()));
  const storedAt = now();
  return imported.map(({ grant, replaced }, index) => {
    const domains = domainsOf(grant).map(({ pattern }) => pattern.text);
    const entry = prepared[index]!;
    if (hasEnded(grant, storedAt) && !grant.refreshable) {
      entry.warnings.push(
        'Its token has ended already, and there is no refresh token.\n  → import a new token with --replace',
      );
    }
    return { ...entry, check: checks[index]!, grant, replaced, domains, at: storedAt };
  });
}

/**
 * Verifies the credentials one after the other. Skips those that no request can carry now.
 *
 * @throws SidekeyError as `assertWorks`, with the number of the entry if there are several
 */
function verifyAll(
  { audit, config, now, withFetch }: Changing,
  prepared: readonly Prepared[],
  isWanted: boolean,
): Promise<readonly Verification[]> {
  return withFetch(async (fetch) => {
    const checks: Verification[] = [];
    for (const [index, { wanted, provider, credential, audience, isUnusable }] of prepared.entries()) {
      const why = isUnusable ? 'no request can carry it' : whyNotNow(credential, audience, provider, now());
      if (isWanted && why !== null) {
        checks.push({ verified: false, says: `not verified: ${why}` });
        continue;
      }
      const signal = AbortSignal.timeout(config.limits.refresh_timeout);
      const request = { provider, user: wanted.user, upstream: { fetch }, signal, state: { audit } };
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
  now: number,
): string | null {
  // Only the proxy presents certificates.
  if (credential.type === 'client_certificate') return 'it is a certificate';
  const clock = clockOf(credential, now, 0);
  if (clock === 'absent') return 'it has no access token yet';
  if (clock === 'ended') return 'its token has ended';
  const host = probe === null ? null : new URL(probe.url).host;
  if (host === null || isWithin(audience, hostPattern('probe', host))) return null;
  return `the check goes to ${host}, which is not in its audience`;
}
