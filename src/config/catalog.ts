import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SidekeyError } from '../errors.ts';
import { isName } from '../grants/grant.ts';
import { parseConfigDocument } from './document.ts';
import { configInvalid, displayName } from './problem.ts';
import { catalogProviderSchema, type ProviderDefinition } from './provider-definition.ts';
import { shippedFile } from './shipped.ts';
import { validate } from './validate.ts';

/** Provider definitions by name. */
export type Catalog = ReadonlyMap<string, ProviderDefinition>;

/**
 * The built-in providers: a file each, named by the provider. As strict as the config file, and without secrets.
 *
 * @param directory the shipped `config/providers` unless a test gives another
 * @throws SidekeyError `config_missing` where the folder is not there, `config_invalid` where a file of it is wrong.
 */
export async function loadCatalog(directory: string = shippedFile('providers')): Promise<Catalog> {
  const files = await readdir(directory).catch((cause: unknown) => {
    throw new SidekeyError('config_missing', `The built-in providers are not in ${directory}.`, {
      hint: 'install Sidekey again; the folder is part of it',
      cause,
    });
  });
  const definitions = files
    .filter((file) => !file.startsWith('.'))
    .toSorted()
    .map(async (file) => readDefinition(join(directory, file), file));
  return new Map(await Promise.all(definitions));
}

async function readDefinition(path: string, file: string): Promise<[string, ProviderDefinition]> {
  const shown = displayName(path, process.cwd());
  const name = file.replace(/\.yaml$/, '');
  if (name === file || !isName(name)) {
    const message = 'is no provider: the name must be that of the provider, and end in .yaml';
    throw configInvalid(shown, [{ line: 1, column: 1, path: [], message }]);
  }
  const document = parseConfigDocument(await readFile(path, 'utf8'));
  const checked = document.readable ? validate(catalogProviderSchema, document) : { problems: [] };
  if ('problems' in checked || document.problems.length > 0) {
    throw configInvalid(shown, [...document.problems, ...('problems' in checked ? checked.problems : [])]);
  }
  return [name, checked.value];
}
