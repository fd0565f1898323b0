import { z } from 'zod';
import type { Config } from '../config/config.ts';
import { accountOf } from '../domain/credential.ts';
import { hasEnded } from '../domain/grant.ts';
import { inEntry, readEntries } from '../grants/credential-input.ts';
import { detailed, grantsNamed, keepGrants, type KeptGrant, ownedName } from '../grants/keep.ts';
import type { Verification } from '../grants/verify.ts';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { hintOf } from '../lib/hint.ts';
import { optional } from '../lib/text.ts';
import { alreadyThere, prepare, type Prepared } from './credential-entry.ts';
import { findDomains } from './find.ts';
import { counted } from './format.ts';
import {
  account,
  accountDetails,
  certificate,
  certificateAnswer,
  grantAnswer,
  grantMembers,
} from './grant-answer.ts';
import { assertOwnSettings, keptSettings } from './grant-settings.ts';
import { named, text, texts } from './members.ts';
import { type Changing, changing } from './operation.ts';
import { type Entry, verifyAll } from './verify-credentials.ts';

/** Credentials that a person or a program has, as new grants. */

/** Choices of every import. */
export const choices = {
  audience: z.array(text).min(1).optional(),
  replace: z.boolean().optional(),
  verify: optional(z.boolean(), 'False: store it without asking the provider.'),
};

export const addedGrant = named('AddedGrant', {
  ...grantMembers,
  account,
  account_details: accountDetails,
  audience: texts,
  domains: texts,
  replaced: z.boolean(),
  verified: z.boolean(),
  warnings: texts,
  certificate,
});

const importInput = z.strictObject({
  credentials: z
    .string()
    .describe('A key or token, PEM, or JSON: an object, an array of objects, or an object in each line.'),
  name: z.string().optional(),
  provider: z.string().optional(),
  user: z.string().optional(),
  ...choices,
  resume: optional(z.boolean(), 'Skip those whose name and provider a stored grant of the user has.'),
});

type Wanted = z.output<typeof importInput>;

export const importGrants = changing({
  id: 'grant.import',
  summary: 'Store credentials that exist, each thousand after all of it was verified.',
  scope: 'grants:write',
  input: importInput,
  output: z.array(addedGrant),
  checkConfig: async (input, config, at) => void prepareAll(input, config, at),
  async run(parts, input, at) {
    const wanted = { ...input, user: parts.caller.user ?? input.user };
    // Checks all credentials before it stores the first.
    return storePrepared(parts, prepareAll(wanted, parts.config, at), wanted);
  },
  answer: ({ added }) => added.map(addedAnswer),
});

export interface AddedGrant extends Prepared, KeptGrant {
  readonly check: Verification;
  /** Domains that use the grant. */
  readonly domains: readonly string[];
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** Result of an import. */
export type Imported = Awaited<ReturnType<typeof storePrepared>>;

export function addedAnswer({
  grant,
  credential,
  check,
  at,
  ...added
}: AddedGrant): z.input<typeof addedGrant> {
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
export function prepareAll(wanted: Wanted, { providers }: Pick<Config, 'providers'>, at: number): Prepared[] {
  const entries = entriesOf(wanted, at);
  const [only, ...more] = entries;
  if (only !== undefined && more.length === 0) return [prepare(only, wanted.name, wanted, providers)];
  return entries.map((entry, index) =>
    inEntry(index, entry.name, () => prepare(entry, undefined, wanted, providers)),
  );
}

/** Ends the verifications of a batch. */
const interrupted = new Error('interrupted');

/** Credentials that are verified and stored together. */
const batchSize = 1_000;

/** Verifies and stores a thousand at a time, all or none. After an interrupt, stores no more. */
export async function storePrepared(
  parts: Changing,
  prepared: readonly Prepared[],
  wanted: Pick<Wanted, 'replace' | 'resume' | 'verify'>,
) {
  const { during, now, onInterrupt } = parts;
  const entries = await remaining(parts, prepared, wanted);
  const isVerified = wanted.verify !== false;
  const stored: (Entry & KeptGrant & { readonly check: Verification })[] = [];
  const what = `${isVerified ? 'Verifying and storing' : 'Storing'} ${counted(entries.length, 'credential')}`;
  let isInterrupted = false;
  const giveBack = onInterrupt(() => (isInterrupted = true));
  await during(what, async (onShare) => {
    const begun = now();
    const progress = (done: number) =>
      onShare(done / entries.length, pace(done, entries.length, now() - begun));
    for (const batch of batchesOf(entries)) {
      try {
        const done = stored.length;
        const checks = await verifyAll(parts, batch, isVerified, (count) => {
          if (isInterrupted) throw interrupted;
          progress(done + count);
        });
        if (isInterrupted) break;
        const sealed = batch.map(({ credential, audience, ...entry }, index) => ({
          ...entry,
          sealed: { credential, audience, ...detailed(checks[index]!.details) },
          settings: keptSettings(parts, entry.settings),
        }));
        const kept = await keepGrants(parts, sealed, {
          event: 'grant.added',
          keepsOut: (existing, next) => (wanted.replace === true ? null : alreadyThere(existing, next)),
          now,
        });
        stored.push(...batch.map((entry, index) => ({ ...entry, ...kept[index]!, check: checks[index]! })));
        progress(stored.length);
      } catch (error) {
        if (error === interrupted) break;
        throw stored.length === 0 ? error : withRest(error, stored.length);
      }
    }
  }).finally(giveBack);
  return {
    added: await withDomains(parts, stored),
    /** Number of credentials that were stored before (`resume`). */
    skipped: prepared.length - entries.length,
    /** Number of credentials that an interrupt left out. */
    left: entries.length - stored.length,
  };
}

function batchesOf<T>(items: readonly T[]): readonly (readonly T[])[] {
  const count = Math.ceil(items.length / batchSize);
  return Array.from({ length: count }, (_, index) => items.slice(index * batchSize, (index + 1) * batchSize));
}

/** Formats how fast the work is, and how long the rest takes: `1650 a second, 40 s left`. */
export function pace(done: number, of: number, milliseconds: number): string {
  const rate = (1_000 * done) / Math.max(milliseconds, 1);
  const left = rate === 0 ? null : Math.ceil((of - done) / rate);
  return `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} a second${left === null ? '' : `, ${left} s left`}`;
}

/** Adds to an error that earlier credentials are stored. */
function withRest(error: unknown, stored: number): unknown {
  if (!(error instanceof SidekeyError)) return error;
  const sentence = `${error.message} The ${stored} credentials before it are stored.`;
  return new SidekeyError(error.code, sentence, {
    hint: hintOf`${error.hint}; then repeat the import with --resume`,
    cause: error,
  });
}

/** Adds to an error that an import may have been interrupted. */
function withResume({ code, message, hint }: SidekeyError): SidekeyError {
  return new SidekeyError(code, message, {
    hint: hintOf`if an earlier import was interrupted, repeat it with --resume; or ${hint}`,
  });
}

/**
 * Returns the entries that are to be stored.
 *
 * @throws SidekeyError `input_invalid` for two of a name; `already_exists`
 */
async function remaining(
  { caller, now, store }: Changing,
  prepared: readonly Prepared[],
  { replace, resume }: Pick<Wanted, 'replace' | 'resume'>,
): Promise<readonly Entry[]> {
  const names = new Set<string>();
  for (const { wanted } of prepared) {
    if (names.has(ownedName(wanted)))
      throw inputInvalid(
        `The name ${wanted.name} appears twice in the input.`,
        'give each credential a "name" of its own, or remove the duplicate',
      );
    names.add(ownedName(wanted));
  }
  const entries = prepared.map((each, place) => ({ ...each, place: prepared.length === 1 ? null : place }));
  const left: Entry[] = [];
  for (const batch of batchesOf(entries)) {
    const wanted = batch.map((entry) => entry.wanted);
    const existing = await grantsNamed(store, wanted);
    for (const entry of batch) {
      const grant = existing.get(ownedName(entry.wanted));
      if (resume === true && grant?.provider === entry.wanted.provider) continue;
      if (grant !== undefined && replace !== true) {
        const error = alreadyThere(grant, entry.wanted);
        const isSame = entry.place !== null && grant.provider === entry.wanted.provider;
        throw isSame ? withResume(error) : error;
      }
      // Refused before the first credential is stored.
      if (entry.settings !== null) {
        assertOwnSettings(entry.settings, caller);
        await keptSettings({ store, now }, entry.settings)?.(grant?.id ?? '');
      }
      left.push(entry);
    }
  }
  return left;
}

/** Adds the domains that use the grants, and a warning to those that no request can use. */
async function withDomains(
  { config, now, store }: Changing,
  stored: readonly (Entry & KeptGrant & { readonly check: Verification })[],
): Promise<readonly AddedGrant[]> {
  const added: AddedGrant[] = [];
  const at = now();
  for (const batch of batchesOf(stored)) {
    const domainsOf = await findDomains(
      store,
      config.domains,
      batch.map(({ grant }) => grant),
    );
    for (const { place: _, ...entry } of batch) {
      const { grant } = entry;
      if (hasEnded(grant, at) && !grant.refreshable) {
        entry.warnings.push(
          'Its token has ended already, and there is no refresh token.\n  → import a new token with --replace',
        );
      }
      added.push({ ...entry, domains: domainsOf(grant).map(({ pattern }) => pattern.text), at });
    }
  }
  return added;
}
