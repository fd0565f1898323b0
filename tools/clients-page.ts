import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../src/lib/package-files.ts';
import { clients } from '../src/clients/programs.ts';
import { variables, type ClientVariable, type VariableValue } from '../src/clients/variables.ts';

/**
 * Generator of `docs/clients.md`: the programs that work through the proxy, and the variables that each
 * needs.
 */

const intro = `# Clients

Programs need certain variables and settings to work through Sidekey. \`sidekey run -- CMD\` and \`sidekey env\` set all of the
variables below. \`sidekey doctor\` tests the programs of your machine and names missing settings. \`npm run clients\` makes this
page from the tables of these commands.

\`clients: { NAME: off }\` in the [config file](configuration.md) keeps \`run\` and \`env\` from setting the variables that only
this client needs, such as \`java\` or \`node\`. \`--keep VARIABLE\` does so for one command. The NAMEs are those of \`doctor --only\`.

Every program gets \`HTTPS_PROXY\`, \`HTTP_PROXY\` and \`NO_PROXY\`, in upper and lower case.

- "Variables" lists the additional variables. Most of them name a file with trusted CA certificates (roots).
- "Tested" links the tests that run the program ([test/clients/](../test/clients)) through \`sidekey run\`, against a TLS server
  that accepts the credential only. During a request, the tests search the environment, arguments and memory of all started
  processes for the credential. Afterwards they search all written files and all output.
- "By hand" marks a single trial with the named version. Everything else is from the documentation of the program.
- "Limits and settings" lists where the variables are not sufficient, and what to do. BUNDLE is the file that \`SSL_CERT_FILE\` names
  under \`run\`.

| client | variables | tested | limits and settings |
| --- | --- | --- | --- |
`;

const middle = `
- The tested SDKs are those of OpenAI, Anthropic, GitHub (Octokit), Google (Gmail) and Slack for Node.js, with only the
  placeholder that \`run\` sets as their key. \`npm publish\` requires a placeholder in an .npmrc.
- Chromium has its own trust store; see its row.
- A tunnelled host (\`tunnel\`) shows its own certificate. Its root must be in the system's trust store or in the file that
  \`SSL_CERT_FILE\` names when \`run\` starts. The storage hosts of Git LFS and skopeo are examples.
- The tests of the AWS command line, boto3 and \`curl --aws-sigv4\` set the variables themselves and do not use \`run\`
  ([aws](../test/clients/aws.test.ts)). A test server in place of AWS checks the signatures. These tests search files and output
  for the keys, but not memory.

## Variables

| variable | value | purpose |
| --- | --- | --- |
`;

const told: Readonly<Record<Exclude<VariableValue, object>, string>> = {
  proxy: 'the URL of the proxy, with a token',
  'no-proxy': 'the previous value, and the addresses of this machine',
  extra: 'the CA of Sidekey, and the previous content',
  bundle: 'the system roots, the previous content, and the CA of Sidekey',
  node: 'an option with a file, after the previous ones',
  java: 'options for proxy and trust store, after the previous ones',
  php: 'a folder with settings, after the previous ones',
  wget: 'a file with settings',
  hg: 'files with settings, after the previous ones',
  apt: 'a file with settings, which includes the previous one',
  kube: 'a file with settings, before the previous ones; only if they name a cluster of the domain map',
  git: 'the number of settings; `GIT_CONFIG_KEY_N` and `GIT_CONFIG_VALUE_N` add `http.schannelCheckRevoke=false` to the previous ones',
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
      rest.onlyIfSet === true ? `${why} Set only if you have set it already.` : why,
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
