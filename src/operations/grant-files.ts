import { dirname, resolve } from 'node:path';
import type { Config } from '../config/config.ts';
import type { Credential } from '../domain/credential.ts';
import type { Registry } from '../grants/registry.ts';

/** Returns the files that grants name: sources, and the tokens of a token exchange. */
export async function grantFiles(
  grants: Pick<Registry, 'list' | 'read'>,
  { file }: Pick<Config, 'file'>,
): Promise<readonly string[]> {
  const listed = (await grants.list()).filter(({ type }) => type === 'source' || type === 'oauth2');
  // A grant that cannot be opened cannot be used either.
  const opened = await Promise.all(listed.map(({ id }) => grants.read(id).catch(() => null)));
  const references = opened.flatMap((each) => (each === null ? [] : referencesOf(each.sealed.credential)));
  return references.flatMap((text) =>
    text.startsWith('file:') ? [resolve(dirname(file), text.slice('file:'.length))] : [],
  );
}

function referencesOf(credential: Credential): readonly string[] {
  if (credential.type === 'source') return [credential.from];
  if (credential.type !== 'oauth2' || credential.renewal?.kind !== 'token_exchange') return [];
  const { subjectToken, actorToken } = credential.renewal;
  return [subjectToken, actorToken].flatMap((token) =>
    token !== null && 'reference' in token ? [token.reference] : [],
  );
}
