import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { routes } from '../../src/api/routes.ts';
import { packageRoot } from '../../src/lib/package-files.ts';
import { readApi } from './document.ts';
import { renderPython } from './python.ts';
import { renderTypeScript } from './typescript.ts';

/** `npm run sdk`: makes the parts of the SDKs and of `llms.txt` that repeat the OpenAPI document. */

const llmsFile = 'llms.txt';
const listHead = '## Operations of the API\n';

/** Replaces the list of operations in the text of `llms.txt`. */
function renderLlms(text: string): string {
  const rows = routes.map(
    ({ id, method, path, summary }) => `- ${id}: \`${method.toUpperCase()} ${path}\`. ${summary}`,
  );
  const at = text.indexOf(listHead);
  if (at < 0) throw new Error(`${llmsFile} has no "${listHead.trim()}"`);
  return `${text.slice(0, at)}${listHead}\n${rows.join('\n')}\n`;
}

/** Returns the texts of the generated files, by their paths in the package. */
export function renderSdk(): Readonly<Record<string, string>> {
  const api = readApi();
  return {
    'src/sdk/client/operations.ts': renderTypeScript(api),
    'src/sdk/python/sidekey/operations.py': renderPython(api),
    [llmsFile]: renderLlms(readFileSync(join(packageRoot, llmsFile), 'utf8')),
  };
}

if (import.meta.main)
  for (const [file, text] of Object.entries(renderSdk())) writeFileSync(join(packageRoot, file), text);
