/** `sidekey config path`, `check` and `edit`. */
import { hash } from 'node:crypto';
import { appendFile, copyFile, cp, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../../../src/lib/package-files.ts';
import { type Home, home, runProgram } from '../../support/command-line.ts';
import { begin } from '../../support/connect-home.ts';
import { tempFolder } from '../../support/temp-folder.ts';

describe('config path', () => {
  test('prints every path, and explains that --config selects the config file', async () => {
    const at = await home();
    const { exit, stdout } = await at.run(['config', 'path']);
    expect({ exit, stdout }).toEqual({
      exit: 0,
      stdout: [
        `config  ${at.configFile}`,
        `store   ${at.at('data', 'sidekey.db')}`,
        `key     ${at.at('data', 'master.key')}`,
        `CA      ${at.at('certs')}`,
        `audit   ${at.at('data', 'audit.jsonl')}`,
        '',
        '--config names the config file, and that file names the other paths.',
        '',
      ].join('\n'),
    });
    await expect(at.json(['config', 'path'])).resolves.toEqual({
      config: at.configFile,
      exists: true,
      origin: 'option',
      store: at.at('data', 'sidekey.db'),
      key: at.at('data', 'master.key'),
      ca: at.at('certs'),
      audit: at.at('data', 'audit.jsonl'),
    });
  });

  test('prints the paths in the valid parts of an invalid file', async () => {
    const at = await home({ store: 'mysql:x', audit: { file: 'log.jsonl' } });
    const { exit, stdout, stderr } = await at.run(['config', 'path']);
    expect(exit).toBe(0);
    expect(stdout).toContain('store   unknown: this part of the config file is not valid\n');
    expect(stdout).toContain(`audit   ${at.at('config', 'log.jsonl')}\n`);
    expect(stderr).toBe('The config file is not valid:\n  → sidekey config check\n');
  });
});

describe('config check', () => {
  test('accepts a valid file, and states the rule for unlisted hosts', async () => {
    const at = await home({ domains: { 'a.example.com': 'deny' } });
    await expect(at.run(['config', 'check'])).resolves.toEqual({
      exit: 0,
      stdout: 'config/sidekey.yaml is valid.\nUnlisted hosts are refused (proxy.unmatched: deny).\n',
      stderr: '',
    });
  });

  test('reports file, line and column of a mistake in the given file, with exit code 2', async () => {
    const at = await home();
    await writeFile(at.at('config', 'new.yaml'), 'version: 1\nproxy:\n  unmatched: dney\n');
    const { exit, stdout, stderr } = await at.run(['config', 'check', 'config/new.yaml']);
    expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
    expect(stderr).toContain(
      'config/new.yaml:3:14: proxy.unmatched: must be one of deny, tunnel; did you mean deny?',
    );
    expect(stderr).toMatch(/ {2}→ change that line of config\/new\.yaml\n$/);
  });

  test('fails if the config file does not exist yet', async () => {
    const folder = await tempFolder();
    expect(await runProgram(['config', 'check'], folder, { env: { HOME: folder } })).toMatchObject({
      exit: 1,
      stdout: expect.stringMatching(/^There is no config file \S+ yet\.\n {2}→ .* init\n$/),
    });
  });

  test('validates a provider file with --provider', async () => {
    const at = await home();
    const file = at.at('acme-2.yaml');
    await copyFile(join(packageRoot, 'config', 'providers', 'acme.yaml'), file);
    expect(await at.json(['config', 'check', '--provider', file])).toEqual({
      file,
      name: 'acme-2',
      valid: true,
    });
    await appendFile(file, 'nope: 1\n');
    expect(await at.run(['config', 'check', '--provider', file])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('nope: is not a key here') as string,
    });
  });

  test('refuses a file with unreadable trust anchors, as start does', async () => {
    const at = await home({
      upstream: { client_certificates: { 'a.example.com': { cert: 'no.crt', key: 'no.key' } } },
    });
    const { exit, stderr } = await at.run(['config', 'check']);
    expect({ exit, stderr }).toEqual({
      exit: 2,
      stderr: expect.stringContaining('no.crt cannot be read (ENOENT)'),
    });
  });
});

/** An editor that replaces a text once, and exits with a code. */
async function editor(from: string, to: string, exit = 0): Promise<Record<string, string>> {
  const script = join(await tempFolder(), 'editor.mjs');
  await writeFile(
    script,
    `import { readFileSync, writeFileSync } from 'node:fs';
const file = process.argv.at(-1);
writeFileSync(file, readFileSync(file, 'utf8').replace(${JSON.stringify(from)}, ${JSON.stringify(to)}));
process.exit(${exit});
`,
  );
  return { VISUAL: `'${process.execPath}' '${script}'`, EDITOR: 'not-used' };
}

const filesOf = (at: Home) => readdir(dirname(at.configFile));

describe('config edit', () => {
  const config = { proxy: { listen: '127.0.0.1:0', unmatched: 'deny' } };

  test('replaces the file by a valid edit, and removes the draft', async () => {
    const at = await home(config);
    const env = await editor('deny', 'tunnel');
    expect(await at.run(['config', 'edit'], { env })).toEqual({
      exit: 0,
      stdout: 'Changed config/sidekey.yaml. A running proxy applies it to the next request.\n',
      stderr: '',
    });
    expect(await readFile(at.configFile, 'utf8')).toContain('unmatched: tunnel');
    expect(await filesOf(at)).toEqual(['sidekey.yaml']);
  });

  test('names the changed keys that take effect only after a restart', async () => {
    const at = await home(config);
    const { stdout } = await at.run(['config', 'edit'], { env: await editor(':0', ':8399') });
    expect(stdout.split('\n')[1]).toBe('Only a restart applies: proxy.listen.');
  });

  test('keeps the file and a private draft after a mistake, and the next edit continues the draft', async () => {
    const at = await home(config);
    const before = await readFile(at.configFile, 'utf8');
    const failed = await at.run(['config', 'edit'], { env: await editor('deny', 'dney') });
    const draft = (await filesOf(at)).find((name) => name.includes('draft')) ?? '';
    expect(failed).toEqual({
      exit: 2,
      stdout: '',
      stderr: `sidekey: config/${draft}:4:14: proxy.unmatched: must be one of deny, tunnel; did you mean deny?\n  → your edit is in ${at.at('config', draft)}; "sidekey config edit" continues it\n`,
    });
    expect(await readFile(at.configFile, 'utf8')).toBe(before);
    expect((await stat(at.at('config', draft))).mode & 0o777).toBe(0o600);
    const env = await editor('dney', 'tunnel');
    expect(await at.run(['config', 'edit'], { env })).toMatchObject({
      exit: 0,
      stderr: `Continuing your edit in ${at.at('config', draft)}.\n`,
    });
    expect(await readFile(at.configFile, 'utf8')).toBe(before.replace('deny', 'tunnel'));
    expect(await filesOf(at)).toEqual(['sidekey.yaml']);
  });

  test('asks at a terminal whether to edit again: yes opens the same draft, no keeps it', async () => {
    const at = await home(config);
    const before = await readFile(at.configFile, 'utf8');
    const edit = async () =>
      begin(['config', 'edit', '--config', at.configFile], at.folder, {
        terminal: true,
        env: await editor('deny', 'dney'),
      });
    const question = 'The config file is not changed. Edit again? [Y/n] ';
    const first = await edit();
    await first.said(question);
    first.stdin.write('n\n');
    const declined = await first.done;
    expect(declined).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('→ sidekey config edit   (continues it)'),
    });
    const second = await edit();
    await second.said(question);
    const draft = (await filesOf(at)).find((name) => name.includes('draft')) ?? '';
    await writeFile(at.at('config', draft), before.replace('deny', 'tunnel'));
    second.stdin.write('\n');
    expect(await second.done).toMatchObject({ exit: 0 });
    expect(await readFile(at.configFile, 'utf8')).toBe(before.replace('deny', 'tunnel'));
  });

  test('does not overwrite a change made by somebody else during the edit, and keeps the draft', async () => {
    const at = await home(config);
    const script = join(await tempFolder(), 'both.mjs');
    await writeFile(
      script,
      `import { appendFileSync } from 'node:fs';
appendFileSync(process.argv.at(-1), 'log: { level: warn }\\n');
appendFileSync(${JSON.stringify(at.configFile)}, 'log: { level: error }\\n');
`,
    );
    const { exit, stderr } = await at.run(['config', 'edit'], {
      env: { EDITOR: `'${process.execPath}' '${script}'` },
    });
    const draft = (await filesOf(at)).find((name) => name.includes('draft')) ?? '';
    expect({ exit, stderr }).toEqual({
      exit: 1,
      stderr: `sidekey: config/sidekey.yaml was changed by another program at the same time.\n  → your edit is in ${at.at('config', draft)}; put it into ${at.configFile} by hand\n`,
    });
    expect(await readFile(at.configFile, 'utf8')).toMatch(/level: error \}\n$/);
    expect(await readFile(at.at('config', draft), 'utf8')).toMatch(/level: warn \}\n$/);
    const next = await at.run(['config', 'edit'], { env: await editor('error', 'info') });
    expect(next).toMatchObject({
      exit: 0,
      stderr: expect.stringContaining(`${draft} is an edit of an older version.`),
    });
  });

  test('changes nothing if the editor changes nothing, fails, or is not installed', async () => {
    const at = await home(config);
    const before = await at.everything();
    expect(await at.run(['config', 'edit'], { env: await editor('x', 'x') })).toMatchObject({
      exit: 0,
      stdout: 'config/sidekey.yaml is not changed.\n',
    });
    const failed = await at.run(['config', 'edit'], { env: await editor('x', 'x', 3) });
    expect(failed).toMatchObject({ exit: 2, stderr: expect.stringContaining('ended with exit code 3.') });
    const missing = await at.run(['config', 'edit'], { env: { EDITOR: join(at.folder, 'nosuch') } });
    expect(missing).toMatchObject({ exit: 2, stderr: expect.stringContaining('nosuch is not installed.') });
    // The test cannot leave the default editor.
    const none = await at.run(['config', 'edit'], { env: { EDITOR: undefined, VISUAL: undefined } });
    expect(none).toMatchObject({ exit: 2, stderr: expect.stringContaining('no terminal for an editor') });
    expect(await at.everything()).toEqual(before);
  });
});

test('connect in a code checkout creates the config of the person, prints its path, and writes nothing into the checkout', async () => {
  const checkout = await tempFolder();
  for (const name of ['config', 'src', 'package.json'])
    await cp(join(packageRoot, name), join(checkout, name), { recursive: true });
  await symlink(join(packageRoot, 'node_modules'), join(checkout, 'node_modules'));
  const before = await filesIn(checkout);
  const person = await tempFolder();
  const connected = await runProgram(['connect', 'openai', '--token', '--no-verify'], checkout, {
    entryFile: join(checkout, 'src', 'sidekey.js'),
    env: { HOME: person },
    input: 'sk-0123456789abcdef',
  });
  const file = join(person, '.config', 'sidekey', 'sidekey.yaml');
  expect(connected).toMatchObject({
    exit: 0,
    stderr: expect.stringContaining(`Created the config file ${file}.\n`),
  });
  expect(await readFile(file, 'utf8')).toContain('  api.openai.com: { grant: openai }\n');
  expect(await filesIn(checkout)).toEqual(before);
});

test.each([
  [['grant', 'import', 'bad name'], 'The name of the grant is not valid.'],
  [['grant', 'import', 'work', '--provider', 'nosuch'], 'There is no provider nosuch.'],
  [['domain', 'remove', 'a.example.com'], 'a.example.com is not in the map of '],
])('%j is refused in an empty home, and creates no config file', async (args, sentence) => {
  const folder = await tempFolder();
  const { exit, stderr } = await runProgram(args, folder, {
    input: 'key-0123456789',
    env: { SIDEKEY_HOME: folder },
  });
  expect({ exit, stderr }).toMatchObject({ exit: 2, stderr: expect.stringContaining(sentence) as string });
  expect(await readdir(folder)).toEqual([]);
});

/** Every file of a checkout with its content; only the libraries are left out. */
async function filesIn(folder: string): Promise<Readonly<Record<string, string>>> {
  const names = (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && !entry.parentPath.includes('node_modules'))
    .map(({ parentPath, name }) => join(parentPath, name));
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, hash('sha256', await readFile(name))] as const)),
  );
}
