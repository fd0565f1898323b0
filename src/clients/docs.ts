import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../config/locate.ts';
import { clients } from './table.ts';
import { variables, type ClientVariable, type VariableValue } from './variable-table.ts';

/** `docs/clients.md`: which programs work through the proxy, and what each needs for it, as a page for people. */

const intro = `# Clients

What each program needs to work through Sidekey. \`sidekey run -- CMD\` and \`sidekey env\` set all of the variables below;
\`sidekey doctor\` asks the programs of your machine, and says what is missing. This page is made by \`npm run clients\` from
the tables that those commands use.

Every program is told of the proxy by \`HTTPS_PROXY\`, \`HTTP_PROXY\` and \`NO_PROXY\`, in upper and lower case. "Trust and
the rest" is what it needs besides. "Seen" names what tests run for real ([test/clients/](../test/clients)): through \`sidekey run\`,
against a TLS server that answers to the credential alone. While that server holds an answer back, the environment, the arguments
and the memory of everything that \`run\` has started are searched for the credential, and afterwards every file that was written
and all output. What is marked "by hand" was tried once in the
same way, with the version that is named, and has no test. What a row names and "seen" does not, is said from its documentation.

| client | trust and the rest | seen | what variables cannot do |
| --- | --- | --- | --- |
`;

const middle = `
The SDKs are those of OpenAI, Anthropic, GitHub (Octokit), Google (Gmail) and Slack for Node.js, each with nothing but the
placeholder that \`run\` sets. npm has a placeholder of its own for \`npm publish\`, in an .npmrc, as it publishes nothing without.
Chromium has the CA in its own store, as its row says. What goes through a tunnel (\`tunnel\` in the domain map, as with the hosts of
Git LFS and skopeo that large files come from) shows its own certificate, whose root has to be one of the machine's or of those
that \`SSL_CERT_FILE\` names where \`run\` is called. The AWS command line, boto3 and \`curl --aws-sigv4\` are run for real
too, with variables that are set by hand and not through \`run\` ([aws](../test/clients/aws.test.ts)): a double of AWS checks
their signatures, and the keys are looked for in files and output, not in memory.

## The variables

| variable | is set to | what for |
| --- | --- | --- |
`;

const told: Readonly<Record<Exclude<VariableValue, object>, string>> = {
  proxy: 'the URL of the proxy, with a token',
  'no-proxy': 'what was there, and this machine',
  extra: 'our CA, and what was there',
  bundle: 'the roots of the machine, what was there, and our CA',
  java: 'options for proxy and trust store, behind those that were there',
  php: 'a folder with settings, behind those that were there',
  wget: 'a file with settings',
  hg: 'files with settings, ours behind those that were there',
  apt: 'a file with settings, which takes in what was there',
};

/** The page, as Markdown. */
export function renderClientsPage(): string {
  const rows = clients.map(({ title, variables: needed, seen, notes }) =>
    cells([
      title,
      needed.map(code).join(', '),
      seen
        .map(({ what, test }) =>
          test === null ? `${what} (by hand)` : `[${what}](../test/clients/${test}.test.ts)`,
        )
        .join(', '),
      notes.join(' '),
    ]),
  );
  const named = variables.map(({ name, value, why, ...rest }: ClientVariable) =>
    cells([
      code(name),
      typeof value === 'object' ? code(value.text) : told[value],
      rest.onlyIfSet === true ? `${why} Only where it is set already.` : why,
    ]),
  );
  return `${intro}${rows.join('\n')}\n${middle}${named.join('\n')}\n`;
}

function cells(texts: readonly string[]): string {
  return `| ${texts.map((text) => text.replaceAll('|', '\\|')).join(' | ')} |`;
}

function code(text: string): string {
  return `\`${text}\``;
}

// npm run clients
if (import.meta.main) {
  const file = join(packageRoot, 'docs', 'clients.md');
  writeFileSync(file, renderClientsPage());
  process.stderr.write(`wrote ${file}\n`);
}
