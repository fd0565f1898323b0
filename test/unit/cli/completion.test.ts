import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { commandTable } from '../../../src/cli/commands.ts';
import { printCompletion, type Shell } from '../../../src/cli/completion.ts';
import type { Context } from '../../../src/cli/context.ts';

/** The words that a shell offers for the last word of a line. */
type Offer = (...line: string[]) => Promise<string[]>;

async function scriptFor(shell: Shell): Promise<string> {
  let script = '';
  const output = { result: (_value: unknown, text: string) => (script = text) };
  await printCompletion({ output } as unknown as Context, shell, await commandTable());
  return script;
}

async function linesOf(program: string, ...args: string[]): Promise<string[]> {
  const { stdout } = await promisify(execFile)(program, args);
  return stdout.split('\n').filter((line) => line !== '');
}

const shells: Readonly<Record<Shell, Offer>> = {
  bash: async (...line) =>
    linesOf(
      'bash',
      '--norc',
      '-c',
      `${await scriptFor('bash')}
       complete -p sidekey >/dev/null || exit 1
       COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sidekey; printf '%s\\n' "\${COMPREPLY[@]}"`,
      'bash',
      ...line,
    ),
  // The functions of the completion system of zsh run only inside its line editor.
  zsh: async (...line) =>
    linesOf(
      'zsh',
      '-f',
      '-c',
      `compdef() {}; compadd() { shift; print -l -- "$@" }; _files() {}; _message() {}
       _describe() { [[ $1 == -o ]] && shift; print -l -- "\${(@)\${(@P)2}%%:*}" }
       ${await scriptFor('zsh')}
       words=("$@"); CURRENT=$#; last="\${@[-1]}"; _sidekey | while read -r word; do [[ $word == $last* ]] && print -- $word; done; true`,
      'zsh',
      ...line,
    ),
  fish: async (...line) => {
    const offered = await linesOf(
      'fish',
      '--no-config',
      '-c',
      `${await scriptFor('fish')}\ncomplete -C ${JSON.stringify(line.join(' '))}`,
    );
    return offered.map((each) => each.split('\t', 1)[0]!);
  },
};

function isMissing(shell: string): boolean {
  try {
    execFileSync(shell, ['-c', 'exit 0']);
    return false;
  } catch {
    return true;
  }
}

describe.each(Object.entries(shells))('the completion of %s', (shell, offer) => {
  // Debian: apt-get install zsh fish
  const skip = isMissing(shell) ? `${shell} is not installed` : false;
  const check = skip === false ? test : test.skip;

  check(`offers commands and subcommands${skip === false ? '' : ` (${skip})`}`, async () => {
    expect(await offer('sidekey', 'gra')).toEqual(['grant']);
    expect((await offer('sidekey', 'grant', 're')).toSorted()).toEqual(['refresh', 'remove', 'revoke']);
    expect(await offer('sidekey', 'domain', 'list', '--json', 'remo')).not.toContain('remove');
  });

  check('offers the options of the command and those of every command', async () => {
    expect(await offer('sidekey', 'run', '--un')).toEqual(['--unmatched']);
    expect(await offer('sidekey', 'audit', 'query', '--conf')).toEqual(['--config']);
    expect(await offer('sidekey', 'start', '--wor')).toEqual([]);
  });

  check('offers the choices of an option and of an argument', async () => {
    expect((await offer('sidekey', 'run', '--unmatched', '')).toSorted()).toEqual(['deny', 'tunnel']);
    expect(await offer('sidekey', 'completion', 'b')).toEqual(['bash']);
  });
});
