import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { home, runProgram, sourceProgram } from '../../support/command-line.ts';
import { tempFolder } from '../../support/temp-folder.ts';

describe('the command line', () => {
  test('shows its help without arguments, and its version with --version', async () => {
    const folder = await tempFolder();
    const nothing = await runProgram([], folder);
    expect(nothing).toMatchObject({ exit: 0, stderr: '' });
    expect(await runProgram(['--help'], folder)).toEqual(nothing);
    for (const name of ['run', 'status', 'grant', 'domain', 'agent', 'lease', 'config', 'audit', 'ca'])
      expect(nothing.stdout).toMatch(new RegExp(`^  ${name}\\b`, 'm'));
    const { version } = JSON.parse(
      await readFile(new URL('../../../package.json', import.meta.url), 'utf8'),
    ) as {
      version: string;
    };
    for (const option of ['--version', '-v'])
      expect(await runProgram([option], folder)).toEqual({ exit: 0, stdout: `${version}\n`, stderr: '' });
    expect(JSON.parse((await runProgram(['--version', '--json'], folder)).stdout)).toEqual({ version });
  });

  test('names the command by its path in a checkout, where `sidekey` is not on the PATH', async () => {
    const env = { npm_command: undefined };
    const { stderr } = await runProgram(['strat'], await tempFolder(), {
      env,
      entryFile: sourceProgram,
    });
    expect(stderr).toContain(`→ node ${sourceProgram} --help`);
  });

  test.each(['grant', 'audit'])('shows the help of the group %s, as text and as JSON', async (group) => {
    const folder = await tempFolder();
    const alone = await runProgram([group], folder);
    expect(alone).toMatchObject({ exit: 0, stdout: expect.stringMatching(`^Usage: sidekey ${group} `) });
    for (const words of [
      [group, '--help'],
      ['help', group],
    ])
      expect(await runProgram(words, folder)).toEqual(alone);
    const { stdout } = await runProgram([group, '--json'], folder);
    expect(JSON.parse(stdout)).toEqual({ help: alone.stdout.trimEnd() });
  });

  test.each([
    [['strat'], 'There is no command "strat"; did you mean "start"?', 'sidekey --help'],
    [['grant', 'lst'], 'There is no command "grant lst"; did you mean "grant list"?', 'sidekey grant --help'],
    [
      ['audit', 'verfy'],
      'There is no command "audit verfy"; did you mean "audit verify"?',
      'sidekey audit --help',
    ],
    [['help', 'grnt'], 'There is no command "grnt"; did you mean "grant"?', 'sidekey --help'],
    [
      ['grant', 'help', 'lst'],
      'There is no command "grant lst"; did you mean "grant list"?',
      'sidekey grant --help',
    ],
    [['grnt', '--help'], 'There is no command "grnt"; did you mean "grant"?', 'sidekey --help'],
    [['help', 'nosuch'], 'There is no command "nosuch".', 'sidekey --help'],
    [['dashboard'], 'There is no command "dashboard".', 'sidekey open'],
    [['sk-0123456789abcdef'], 'There is no such command.', 'sidekey --help'],
    [['provider', 'show'], "Missing required argument 'provider'.", 'sidekey provider show --help'],
    [['grant', 'list', '--jsn'], "Unknown option '--jsn'; did you mean --json?", 'sidekey grant list --help'],
    [
      ['start', '--port', '9000'],
      "Unknown option '--port'.",
      'set proxy.listen in the config file: sidekey config edit',
    ],
    [
      ['start', '--listen=0.0.0.0:9000'],
      "Unknown option '--listen'.",
      'set proxy.listen in the config file: sidekey config edit',
    ],
    [
      ['agent', 'rotate', 'ci', '--overlap', '1x'],
      '--overlap is not a duration: a number and a unit, such as 90s, 15m, 8h, 30d or 2w, up to ten years.',
      'sidekey agent rotate --help',
    ],
    [['lease', 'create'], "Required option '--agent <name>' not specified.", 'sidekey lease create --help'],
  ])('%j is refused as bad input, with a hint', async (args, sentence, hint) => {
    const folder = await tempFolder();
    const ran = await runProgram(args, folder);
    expect(ran).toEqual({ exit: 2, stdout: '', stderr: `sidekey: ${sentence}\n  → ${hint}\n` });
    const told = await runProgram([...args, '--json'], folder);
    expect(JSON.parse(told.stderr)).toEqual({ error: { code: 'input_invalid', message: sentence, hint } });
  });

  test('uses --config, otherwise the config named by the environment', async () => {
    const at = await home();
    const env = { SIDEKEY_CONFIG: at.configFile };
    await at.grant('work', { type: 'api_key', value: 'secret' });
    const named = await runProgram(['grant', 'list', '--json'], at.folder, { env });
    expect(JSON.parse(named.stdout)).toMatchObject([{ name: 'work' }]);
    // --config goes before the environment, wherever it stands.
    const other = await home();
    const before = await runProgram(['--config', other.configFile, 'grant', 'list', '--json'], at.folder, {
      env,
    });
    expect(JSON.parse(before.stdout)).toEqual([]);
  });
});

describe('providers', () => {
  test('are listed and shown without secrets, both built-in and configured providers', async () => {
    const at = await home({
      providers: {
        desk: {
          token_endpoint: 'https://desk.example.com/token',
          client_id: 'sidekey',
          client_secret: 'env:DESK_SECRET',
          audience: ['desk.example.com'],
        },
      },
    });
    const { stdout } = await at.run(['provider', 'list']);
    expect(stdout).toMatch(/^NAME +TITLE +CATEGORY +CONNECT WITH +NEEDS FIRST\nacme /);
    expect(stdout).toMatch(/^anthropic +Anthropic +ai +key +-$/m);
    expect(stdout).toMatch(/^desk +desk +generic +client credentials +-$/m);
    const some = await at.run(['provider', 'list', 'MICRO']);
    expect(
      some.stdout
        .split('\n')
        .slice(1, -3)
        .every((line) => /microsoft/i.test(line)),
    ).toBe(true);
    expect(await at.run(['provider', 'list', 'zzz'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('sidekey connect https://HOST'),
    });
    const shown = await at.run(['provider', 'show', 'desk'], { env: { DESK_SECRET: 'desk-secret-value' } });
    expect(shown.stdout).toMatch(/client +sidekey, with a secret, sent as basic/);
    expect(shown.stdout + shown.stderr).not.toContain('desk-secret-value');
    expect(await at.json(['provider', 'show', 'desk'])).toMatchObject({
      has_client_secret: true,
      client_auth: 'basic',
    });
    expect(await at.run(['provider', 'show', 'dsk'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('There is no provider dsk; did you mean desk?'),
    });
  });
});

describe('agents', () => {
  test('get a token that is printed once, and are listed without the token', async () => {
    const at = await home({ proxy: { listen: '127.0.0.1:8399' } });
    const added = await at.run(['agent', 'create', 'ci']);
    const [, token = ''] =
      /^HTTPS_PROXY=http:\/\/ci:(sidekey_agent_[\w-]{43})@127\.0\.0\.1:8399\n$/.exec(added.stdout) ?? [];
    expect(token).not.toBe('');
    expect(added.stderr).toContain('is shown only once');
    expect(added.stderr).not.toContain(token);
    expect((await at.run(['agent', 'list'])).stdout).toMatch(
      /^NAME +STATE .+ CREATED\nci +enabled +- +nothing +1 +0 +never .+ ago\n$/,
    );
    expect(await at.run(['agent', 'create', 'ci'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('The agent ci exists already.'),
    });
    expect(await at.run(['agent', 'create', 'no such: name'])).toMatchObject({
      exit: 2,
      stderr: expect.stringContaining('The name is not valid: use 1 to 64 letters'),
    });
    expect(await at.run(['agent', 'remove', 'ci'])).toMatchObject({ exit: 0 });
    expect(await at.run(['agent', 'remove', 'ci'])).toMatchObject({ exit: 2 });
    expect(await at.json(['agent', 'list'])).toEqual([]);
  });
});
