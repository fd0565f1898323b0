import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { routes } from '../../src/api/routes.ts';
import { packageRoot } from '../../src/lib/package-files.ts';
import { readApi } from './document.ts';
import { renderPython, renderPythonClient, renderPythonErrors } from './python.ts';
import { renderTypeScript } from './typescript.ts';

/**
 * `npm run sdk`: makes the parts of the SDKs and of `llms.txt` that repeat the OpenAPI document, and the
 * synchronous client for Python. Those of the SDKs are not in git: the build, the type check, the linter and the
 * tests make them.
 */

const llmsFile = 'llms.txt';
const listHead = '## Operations of the API\n';

/** Returns the text of `llms.txt` with the operations of today. */
export function renderLlms(text: string): string {
  const rows = routes.map(
    ({ id, method, path, summary }) => `- ${id}: \`${method.toUpperCase()} ${path}\`. ${summary}`,
  );
  const at = text.indexOf(listHead);
  if (at < 0) throw new Error(`${llmsFile} has no "${listHead.trim()}"`);
  return `${text.slice(0, at)}${listHead}\n${rows.join('\n')}\n`;
}

/** Writes the generated parts of the SDKs where they differ. */
export function makeSdk(): void {
  const api = readApi();
  write('src/sdk/client/operations.ts', renderTypeScript(api));
  write('src/sdk/python/sidekey/operations.py', renderPython(api));
  write('src/sdk/python/sidekey/errors.py', renderPythonErrors());
  write(
    'src/sdk/python/sidekey/client.py',
    renderPythonClient(read('src/sdk/python/sidekey/async_client.py')),
  );
}

function read(path: string): string {
  return readFileSync(join(packageRoot, path), 'utf8');
}

/** Writes a file of the package, unless it has that text: a program may be reading it. */
function write(path: string, text: string): void {
  const file = join(packageRoot, path);
  if (!existsSync(file) || readFileSync(file, 'utf8') !== text) writeFileSync(file, text);
}
if (import.meta.main) {
  makeSdk();
  write(llmsFile, renderLlms(read(llmsFile)));
}
