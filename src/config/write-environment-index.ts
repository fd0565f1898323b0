import { writeFileSync } from 'node:fs';
import { openCatalog } from './catalog.ts';
import { environmentIndexFile } from './environment-index.ts';
import { shippedFile } from './shipped.ts';

/** The index, as text. Throws where a file of the catalog is wrong. */
export async function renderEnvironmentIndex(): Promise<string> {
  const catalog = await openCatalog();
  const entries = catalog.names.flatMap((name) => {
    const environment = catalog.get(name)?.definition.environment;
    return environment === undefined ? [] : [[name, environment] as const];
  });
  return `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`;
}

// npm run providers
if (import.meta.main) {
  const file = shippedFile(environmentIndexFile);
  writeFileSync(file, await renderEnvironmentIndex());
  process.stderr.write(`wrote ${file}\n`);
}
