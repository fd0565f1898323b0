import { readFileSync } from 'node:fs';
import type { CatalogProvider } from './provider-definition.ts';
import { shippedFile } from './shipped.ts';

/** The `environment` of each shipped provider that has one, by name. */
export type EnvironmentIndex = Readonly<Record<string, CatalogProvider['environment']>>;

/** Made by `npm run providers`: to read and check all definitions takes half a second. */
export const environmentIndexFile = 'environment-index.json';

let index: EnvironmentIndex | undefined;

/** Read once; it is part of the program. */
export function readEnvironmentIndex(): EnvironmentIndex {
  index ??= JSON.parse(readFileSync(shippedFile(environmentIndexFile), 'utf8')) as EnvironmentIndex;
  return index;
}
