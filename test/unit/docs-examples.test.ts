import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import { commonOptions, type CommandRow } from '../../src/cli/command.ts';
import { commandTable } from '../../src/cli/commands.ts';
import { createProgram } from '../../src/cli/index.ts';
import { SidekeyError } from '../../src/lib/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { parseCases } from '../../src/operations/config-cases.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { home, type Home } from '../support/command-line.ts';
import {
  blockCommands,
  blocksOf,
  type DocCommand,
  pages,
  spanCommands,
  textOf,
} from '../support/doc-commands.ts';

/** The YAML examples of a page, each as a whole config file. */
function examples(page: string): { readonly text: string; readonly config: object }[] {
  return blocksOf(page, ['yaml'])
    .flatMap((block) => parseAllDocuments(block))
    .map((document) => {
      expect(document.errors).toEqual([]);
      return { text: document.toString(), value: document.toJS() as object };
    })
    .filter(({ text, value }) => {
      if (!Array.isArray(value)) return true;
      expect(parseCases(text, page, 0).length).toBeGreaterThan(0);
      return false;
    })
    .map(({ text: example, value }) => ({ text: example, config: { version: 1, ...wrapped(value) } }));
}

/** An example of a part, at its place in the config. */
function wrapped(part: object): object {
  const is = (key: string) => Object.hasOwn(part, key);
  if (is('inject') || is('dialect') || is('expired'))
    return { providers: { example: { audience: ['api.example'], ...part } } };
  if (is('client_certificates')) return { upstream: part };
  if (is('proxy') && 'url' in Object(Object(part)['proxy'])) return { upstream: part };
  if (is('rules')) return { domains: { 'api.example': { grant: 'example', ...part } } };
  return part;
}

/** First keys of YAML that other programs read. */
const ofOtherPrograms: Readonly<Record<string, string>> = {
  apiVersion: 'Kubernetes',
  image: 'values of the Helm chart',
  on: 'GitHub Actions',
  permissions: 'GitHub Actions',
  scrape_configs: 'Prometheus',
};

describe('config examples in pages', () => {
  it('are found', () => {
    expect(pages.flatMap(examples).length).toBeGreaterThan(20);
  });

  it.each(pages)('%s: every example is a valid config', async (page) => {
    const file = path.join(await tempFolder(), 'sidekey.yaml');
    for (const { text, config } of examples(page)) {
      await writeFile(file, stringify(config), { mode: 0o600 });
      await expect(loadConfig(file, { env: {} }), text).resolves.toBeDefined();
    }
  });

  it('are all checked, but those of other programs', () => {
    const others = pages
      .flatMap((page) => blocksOf(page, ['yml']))
      .flatMap((block) => parseAllDocuments(block));
    for (const document of others) {
      expect(document.errors).toEqual([]);
      expect(Object.keys(ofOtherPrograms)).toContain(Object.keys(document.toJS() as object)[0]);
    }
    for (const page of pages) {
      const fences = textOf(page).match(/^ *```ya?ml\b/gm) ?? [];
      expect(blocksOf(page, ['yaml', 'yml']), page).toHaveLength(fences.length);
    }
  });
});

const table = await commandTable();

/** Parses a call with the real table of commands; returns what is wrong, or null. */
async function problemOf({ words }: DocCommand, isMention = false): Promise<string | null> {
  const program = createProgram(
    async () => {},
    () => {},
    { table },
  );
  try {
    await program.parseAsync(words, { from: 'user' });
    return null;
  } catch (error) {
    if (!(error instanceof SidekeyError)) return isMention || words.includes('--help') ? null : String(error);
    // A sentence may name a command without its arguments.
    const isShort = /^Missing required argument|^Required option|argument missing\.$/.test(error.message);
    return isMention && isShort ? null : error.message;
  }
}

describe('commands in pages', () => {
  it('are found', () => {
    expect(pages.flatMap(blockCommands).length).toBeGreaterThan(120);
    expect(pages.flatMap(spanCommands).length).toBeGreaterThan(100);
  });

  it.each(pages)('%s: every command in a block is valid', async (page) => {
    const wrong: string[] = [];
    for (const command of blockCommands(page)) {
      const problem = await problemOf(command);
      if (problem !== null) wrong.push(`${command.line}\n  ${problem}`);
    }
    expect(wrong).toEqual([]);
  });

  it.each(pages)('%s: every command in a sentence is valid', async (page) => {
    const wrong: string[] = [];
    for (const command of spanCommands(page)) {
      const problem = await problemOf(command, true);
      if (problem !== null) wrong.push(`${command.line}\n  ${problem}`);
    }
    expect(wrong).toEqual([]);
  });
});

/** Options of other programs that a page names by themselves. */
const ofOthers = '--allow-env --allow-net --allow-read --allow-run --build-arg --call --console --device-auth --help --insecure --network --package --prefix --proxy-cacert --top --version'; // prettier-ignore

describe('options in sentences', () => {
  const optionsOf = ({ options = [], commands = [] }: CommandRow): readonly string[] => [
    ...options.flatMap((option) => (typeof option === 'string' ? [] : [option[0]])),
    ...commands.flatMap(optionsOf),
  ];
  const flags = [
    ...table.flatMap(([, rows]) => rows.flatMap(optionsOf)),
    ...commonOptions.map(([option]) => option),
    ofOthers,
  ];
  const options = new Set(flags.join(' ').match(/--[a-z][\w-]*/g));

  it.each(pages)('%s: every one exists', (page) => {
    const spans = Array.from(textOf(page).matchAll(/`(--[a-z][^`]*)`/g), ([, span = '']) => span);
    const named = spans.flatMap((span) => span.match(/(?<![\w-])--[a-z][\w-]*/g) ?? []);
    expect(named.filter((name) => !options.has(name))).toEqual([]);
  });
});

/** Commands in blocks that are only parsed, with the reason. */
const parsedOnly: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/^(run|open|fetch|connect|login|grant (import|scopes))\b/, 'needs the network, a browser or a program'],
  [/^(init|service|upgrade)\b/, 'changes the machine of its user'],
  [/^(start|mcp)\b|^audit tail -f/, 'runs until it is stopped'],
  [/^(node|store copy)\b/, 'needs PostgreSQL'],
  [/^backup \S+$|^restore\b|^approve$/, 'asks at a terminal'],
  [/k3f9q2xa|--lease [0-9a-f]{8}|--finish/, 'has an id of an example'],
  [/^grant source|--anchor anchors\.jsonl node-b/, 'reads what another program has written'],
  [/ (\/trust|\/backups\/)/, 'writes outside of the folder'],
  [/--subject/, 'needs an identity provider'],
  [/^transparent .*--user/, 'needs a user of the system'],
];

const whole = parsedOnly.map(([pattern]) => pattern);
const executed = [
  ...new Map(
    pages
      .flatMap((page) => blockCommands(page).map(({ words }) => ({ page, words, text: words.join(' ') })))
      .filter(({ text }) => !whole.some((pattern) => pattern.test(text)))
      .map((command) => [command.text, command] as const),
  ).values(),
];

/** A home with the grants, agents and people that a command names. */
async function homeFor(text: string): Promise<Home> {
  const at = await home({
    proxy: { listen: '127.0.0.1:48377' },
    admin: { listen: '127.0.0.1:48378' },
    upstream: { resolve: { 'api.github.com': '140.82.121.6', 'desk.company.example': '140.82.121.6' } },
    domains: {
      'api.github.com': { grant: 'github' },
      'desk.company.example': { grant: 'desk' },
      'api.openai.com': { grant: 'openai' },
    },
  });
  const key = { type: 'api_key', value: 'ghp_of-a-test' };
  await at.grant('github', key, ['--provider', 'github']);
  if (text.includes('--base-urls')) await at.grant('openai', key, ['--provider', 'openai']);
  const [other] = /\b(?:work|company|desk|acme)\b/.exec(text) ?? [];
  if (other !== undefined)
    await at.grant(other, key, ['--provider', 'acme', '--audience', 'desk.company.example']);
  const [, lessee, bound] = /--agent (\S+)|^agent (?:bind|set) (\S+)/.exec(text) ?? [];
  const agent = lessee ?? bound;
  if (agent !== undefined) await at.run(['agent', 'create', agent, '--grant', 'github']);
  const [, person] = /^person link (\S+)/.exec(text) ?? [];
  if (person !== undefined) await at.run(['person', 'create', person, '--role', 'operator']);
  // Any proxy makes the CA.
  if (/^(env|ca)\b/.test(text)) await at.run(['fetch', 'http://sidekey.internal/']);
  return at;
}

describe.skipIf(process.platform !== 'linux')('commands in pages that need no other program', () => {
  it('are all but some with a reason', () => {
    const texts = pages.flatMap(blockCommands).map(({ words }) => words.join(' '));
    for (const [pattern] of parsedOnly) expect(texts.filter((text) => pattern.test(text))).not.toEqual([]);
    expect(executed.length).toBeGreaterThan(40);
  });

  it.each(executed)('$page: sidekey $text', async ({ words, text }) => {
    const at = await homeFor(text);
    const { exit, stderr } = await at.run(words, { env: { SHELL: '/bin/bash' } });
    expect([exit, stderr.split('\n').filter((line) => line.startsWith('sidekey: '))]).toEqual([
      // No proxy serves.
      text === 'status' ? 1 : 0,
      [],
    ]);
  });
});

it.each(pages)('%s: every npm script in a block exists', async (page) => {
  const { scripts } = (await import('../../package.json')).default;
  const blocks = blocksOf(page, ['sh', 'console', '']).join('\n');
  const named = Array.from(blocks.matchAll(/\bnpm run (?:--?[a-z-]+ )*([a-z:-]+)/g), ([, name = '']) => name);
  for (const name of named) expect(Object.keys(scripts)).toContain(name);
});

it.each(pages)('%s: no block has a command below one that runs until it is stopped', (page) => {
  const stays = /(?:^|[ &(])(?:sidekey (?:start|mcp)|npm start|npm run demo(?! -- --once))\b[^|]*$/;
  for (const block of blocksOf(page, ['sh'])) {
    const lines = block.trimEnd().split('\n');
    const at = lines.findIndex((line) => stays.test(line.replace(/ +#.*/, '')) && !line.startsWith('claude'));
    if (at >= 0) expect([undefined, '# in another terminal:'], block).toContain(lines[at + 1]);
  }
});
