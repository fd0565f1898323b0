import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { failures } from '../src/lib/failures.ts';
import { hintText } from '../src/lib/hint.ts';
import {
  type CatalogEntry,
  environmentIndexFile,
  formIndexFile,
  openCatalog,
} from '../src/config/catalog.ts';
import { formsOf } from '../src/proxy/schemes/forms.ts';
import { packageRoot, shippedFile } from '../src/lib/package-files.ts';
import { categories, flowWords } from '../src/config/provider.ts';
import { configSchema } from '../src/config/schema.ts';

/** Relative to `config/`. */
export const packedProvidersFile = 'providers/.npmignore';

/** Returns the text of the index. Throws if a file of the catalog is invalid. */
export async function renderEnvironmentIndex(): Promise<string> {
  const catalog = await openCatalog();
  const entries = catalog.names.flatMap((name) => {
    const environment = catalog.get(name)?.definition.environment;
    return environment === undefined ? [] : [[name, environment] as const];
  });
  return `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`;
}

/** Returns the text of the index of forms. Throws if a file of the catalog is invalid. */
export async function renderFormIndex(): Promise<string> {
  const catalog = await openCatalog();
  const forms = formsOf(catalog.names.map((name) => catalog.get(name)!.definition));
  return `${JSON.stringify(forms, null, 2)}\n`;
}

const intro = `# Providers

The built-in providers. Each is a file in [config/providers/](../config/providers), and \`npm run pages\` makes this page
from them. \`sidekey provider show NAME\` adds scopes, client registration and notes.

- "Connect with" lists the methods of \`sidekey connect NAME\`: browser, device code (\`--device\`), key or personal token
  (\`--token\`) and others.
- "Goes to" is the audience. Sidekey sends a credential of the provider to no other host.
- "Settings" must be set first: \`--set NAME=VALUE\`.

For another API use \`sidekey connect api-key --set host=HOST --token\`. For an OpenID provider, or an API that publishes its
authorization server, use \`sidekey connect https://HOST\`. You can also write
[a provider of your own](connect.md#providers-of-your-own).
`;

/** Returns the page as Markdown. Throws if a file of the catalog is invalid. */
export async function renderProvidersPage(): Promise<string> {
  const catalog = await openCatalog();
  const all = catalog.names.flatMap((name) => {
    const entry = catalog.get(name);
    return entry === undefined ? [] : [{ name, entry }];
  });
  const sections = categories.map((category) => {
    const rows = all.filter(({ entry }) => entry.definition.category === category).map(row);
    if (rows.length === 0) return '';
    const head = '| name | provider | connect with | goes to | settings |\n| --- | --- | --- | --- | --- |';
    return `\n## ${category.charAt(0).toUpperCase()}${category.slice(1)}\n\n${head}\n${rows.join('\n')}\n`;
  });
  return `${intro}${sections.join('')}\n${all.length} providers.\n`;
}

function row({ name, entry }: { readonly name: string; readonly entry: CatalogEntry }): string {
  const { definition, settings } = entry;
  const [docs = ''] = definition.docs ?? [];
  const flows = (definition.flows ?? []).map((flow) => flowWords[flow]);
  const written = entry.document.value as { readonly audience?: readonly string[] };
  const cells = [
    `\`${name}\``,
    `[${definition.title}](${docs})`,
    [
      ...flows,
      ...(definition.token === undefined ? [] : [definition.token.label]),
      ...(definition.logins ?? []).map(({ program }) => `login of ${program}`),
    ].join(', '),
    (written.audience ?? []).map((host) => `\`${host}\``).join(' '),
    settings.map(({ name: setting }) => `\`${setting}\``).join(' '),
  ];
  return `| ${cells.join(' | ')} |`;
}

/**
 * Returns the JSON Schema of the config file for editors, in draft 7, which all of them support. It describes
 * the file as written, before defaults. The program checks values more strictly than a JSON Schema can
 * express.
 */
export function renderJsonSchema(): string {
  const schema = z.toJSONSchema(configSchema, {
    io: 'input',
    target: 'draft-07',
    // Zod omits the examples of transformed values, because they may be results. Here they are always inputs.
    override: ({ zodSchema, jsonSchema }) => {
      const examples = z.globalRegistry.get(zodSchema)?.['examples'];
      if (Array.isArray(examples) && examples.length > 0) jsonSchema.examples = examples;
    },
  });
  return `${JSON.stringify(schema, null, 2)}\n`;
}

/** Renders `docs/errors.md`: the table of failures. */
export function renderErrorsPage(): string {
  const rows = Object.entries(failures).map(([code, { status, exit, sentence, hint }]) =>
    `| \`${code}\` | ${status} | ${exit} | ${sentence} | ${hintText(hint)} |`.replaceAll('<', '&lt;'),
  );
  return `# Errors

Each failure has a code. Codes are stable; programs match on them and not on messages. A refusal of the proxy is a problem
document (RFC 9457) with the code, a sentence and a hint, and has the status below. A command prints the sentence and the
hint and exits with the exit code below. Messages are more exact than this table where Sidekey knows more. \`npm run pages\`
makes this page from \`src/lib/failures.ts\`.

| code | status | exit | meaning | way out |
| --- | --- | --- | --- | --- |
${rows.join('\n')}
`;
}

/**
 * Returns the ignore file of npm for `config/providers/`: a package has the files of the catalog, and no
 * other that lies there. Throws as `renderProvidersPage`.
 */
export async function renderPackedProviders(): Promise<string> {
  const { names } = await openCatalog();
  return [
    '# Made by npm run pages. A package has no other provider file.',
    '*',
    ...names.map((name) => `!${name}.yaml`),
    '',
  ].join('\n');
}

// npm run schema | npm run pages
if (import.meta.main) {
  const outputs = process.argv.includes('schema')
    ? { [shippedFile('sidekey.schema.json')]: renderJsonSchema() }
    : {
        [join(packageRoot, 'docs', 'providers.md')]: await renderProvidersPage(),
        [join(packageRoot, 'docs', 'errors.md')]: renderErrorsPage(),
        [shippedFile(environmentIndexFile)]: await renderEnvironmentIndex(),
        [shippedFile(formIndexFile)]: await renderFormIndex(),
        [shippedFile(packedProvidersFile)]: await renderPackedProviders(),
      };
  for (const [file, text] of Object.entries(outputs)) {
    writeFileSync(file, text);
    process.stderr.write(`wrote ${file}\n`);
  }
}
