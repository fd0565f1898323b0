import { dirname, resolve } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Config } from '../config/config.ts';
import { isReference, parseSecretReference } from '../config/secret-reference.ts';
import { fileReferencesOf, type OpenedGrant } from '../domain/credential.ts';
import { SidekeyError } from '../lib/errors.ts';
import { withInput, type Hint, hintOf, remedy } from '../lib/hint.ts';
import type { FailureCode } from '../lib/failures.ts';
import { inPages } from '../store/queries.ts';
import { withoutStop } from '../lib/text.ts';
import { type PlanParts, planRefresh } from './refresh-plan.ts';
import type { Registry } from './registry.ts';
import type { GrantRecord, Store } from '../store/store.ts';
import type { Sources } from './sources/ask.ts';
import { replaceRemedy } from './token-result.ts';

/** A reference of a grant that this process cannot read. Contains names, but no values. */
export interface UnreadableReference {
  readonly grant: string;
  readonly code: FailureCode;
  readonly sentence: string;
  readonly hint: Hint;
}

export type ReferenceParts = PlanParts & { readonly sources: Pick<Sources, 'check'> };

/** Returns the references that the next refresh could not read, without commands or requests. */
export async function unreadableReferences(
  { grant, sealed: { credential } }: OpenedGrant,
  { registry, providers, readSecret, sources }: ReferenceParts,
): Promise<readonly UnreadableReference[]> {
  if (credential.type === 'source') {
    const failure = await sources.check(credential);
    const sentence = `The running proxy cannot ask the source of the grant "${grant.name}": ${withoutStop(failure?.message ?? '')}.`;
    return failure === null ? [] : [{ grant: grant.id, code: failure.code, sentence, hint: failure.hint }];
  }
  if (credential.type !== 'oauth2') return [];
  const unreadable: UnreadableReference[] = [];
  const trying = (reading: Promise<string>, otherwise: Hint): Promise<string> =>
    reading.catch((error: unknown) => {
      if (!(error instanceof SidekeyError)) throw error;
      const sentence = `The running proxy cannot renew the grant "${grant.name}": ${withoutStop(error.message)}.`;
      unreadable.push({
        grant: grant.id,
        code: error.code,
        sentence,
        hint: hintOf`${error.hint}; or ${otherwise}`,
      });
      return '';
    });
  const again = withInput(replaceRemedy(grant, [], providers(grant.provider), credential), { replace: true });
  await planRefresh(
    { provider: grant.provider, scopes: grant.scopes, credential },
    {
      registry,
      readSecret: (reference) => trying(readSecret(reference, true), hintOf`name another one: ${again}`),
      providers(name) {
        const provider = providers(name);
        const read = provider?.clientSecret ?? null;
        const otherwise = hintOf`change providers.${name}.client_secret: ${remedy('config.edit')}`;
        const clientSecret = read && (() => trying(read(true), otherwise));
        // `dpop` is null, because a plan would generate a missing key.
        return provider && { ...provider, dpop: null, clientSecret };
      },
    },
  );
  return unreadable;
}

/** Grants of each provider, and grants with a source, whose references are read. */
const maxExamples = 50;

/** Returns grants with a source, and the last changed ones of each provider, at most some thousand. */
async function examples({ grants }: Pick<Store, 'grants'>): Promise<Iterable<GrantRecord>> {
  const found = await grants.matching({ type: 'source', state: 'active' }, maxExamples);
  for (let provider: string | null = ''; found.length < 20 * maxExamples;) {
    provider = await grants.providerAfter(provider);
    if (provider === null) break;
    found.push(...(await grants.newest(provider, maxExamples)));
    await nextTurn();
  }
  return new Map(found.map((record) => [record.id, record])).values();
}

/** Returns the unreadable references of some grants. */
export async function someUnreadable(
  parts: ReferenceParts & {
    readonly registry: Pick<Registry, 'openRecord'>;
    readonly store: Pick<Store, 'grants'>;
  },
): Promise<readonly UnreadableReference[]> {
  const unreadable: UnreadableReference[] = [];
  for (const record of await examples(parts.store)) {
    if (record.type !== 'oauth2' && record.type !== 'source') continue;
    // Grants that cannot be opened are reported elsewhere, as a fault of the store or the key.
    const opened = await parts.registry.openRecord(record).catch(() => null);
    if (opened !== null) unreadable.push(...(await unreadableReferences(opened, parts)));
    await nextTurn();
  }
  return unreadable;
}

/** Number of grants in a page. */
const pageSize = 250;

/** Returns the files that grants name: sources, tokens of a token exchange, and tokens that name an agent. */
export async function grantFiles(
  { store, grants }: { readonly store: Pick<Store, 'grants'>; readonly grants: Pick<Registry, 'openRecord'> },
  { file }: Pick<Config, 'file'>,
): Promise<readonly string[]> {
  const references: string[] = [];
  const pages = inPages<GrantRecord>(pageSize, (after) =>
    store.grants.perhapsWithFiles(after?.id ?? '', pageSize),
  );
  for await (const records of pages) {
    const fileless: GrantRecord[] = [];
    for (const record of records) {
      // Grants that cannot be opened are reported elsewhere, as a fault of the store or the key.
      const opened = await grants.openRecord(record).catch(() => null);
      if (opened === null) continue;
      const own = fileReferencesOf(opened.sealed.credential);
      references.push(...own);
      // An earlier version stored it without a mark.
      if (own.length === 0) fileless.push(record);
    }
    await store.grants.markFileless(fileless);
  }
  return references.map(parseSecretReference).flatMap((reference) => {
    const isFile = isReference(reference) && reference.kind === 'file';
    return isFile ? [resolve(dirname(file), reference.path)] : [];
  });
}
