import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, unlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { writeConfigAtomically } from '../../config/edit.ts';
import { digestOf, parseConfig, readConfigText } from '../../config/load.ts';
import { splitCommandLine } from '../../config/locate.ts';
import { displayName } from '../../config/problem.ts';
import { caughtFailure, isSystemError, SidekeyError, systemCode } from '../../lib/errors.ts';
import type { Hint } from '../../lib/hint.ts';
import { exitCode } from '../../lib/failures.ts';
import { laterKeys } from '../../app/config-in-force.ts';
import type { Context } from '../context.ts';
import { confirm } from '../terminal.ts';
import { loadAsStart } from './path.ts';

/**
 * `sidekey config edit`: the editor changes a draft beside the config file. A valid draft replaces the file.
 * An invalid draft is kept, and the next edit of the same file continues it.
 */
export async function editConfig(context: Context): Promise<number> {
  const { env, output } = context;
  const editor = readEditor(context);
  const file = await context.configFile();
  const name = displayName(file);
  const previous = await readConfigText(file);
  const draft = await openDraft(context, file, previous);
  for (;;) {
    const failure = await runEditor(editor, draft, env).then(() => null, caughtFailure);
    const text = await readConfigText(draft);
    if (text === previous) await unlink(draft);
    if (failure !== null) throw failure;
    if (text === previous) {
      output.result({ changed: false, file }, `${name} is not changed.`);
      return exitCode.ok;
    }
    const config = await loadAsStart(draft, env).catch(caughtFailure);
    if (!(config instanceof SidekeyError)) {
      await writeConfigAtomically(file, text, { env, previous, isLocal: true }).catch((error: unknown) => {
        throw kept(caughtFailure(error), `your edit is in ${draft}; put it into ${file} by hand`);
      });
      await unlink(draft);
      const before = await parseConfig(previous, file, { env }).catch(() => config);
      const restart = laterKeys(before, config);
      output.result(
        { changed: true, file, restart },
        [
          `Changed ${name}. A running proxy applies it to the next request.`,
          ...(restart.length === 0 ? [] : [`Only a restart applies: ${restart.join(', ')}.`]),
        ].join('\n'),
      );
      return exitCode.ok;
    }
    if (context.ask === null)
      throw kept(config, `your edit is in ${draft}; "sidekey config edit" continues it`);
    output.say(config.message);
    const again = await confirm(context.openLines, 'The config file is not changed. Edit again?', true);
    if (!again) {
      output.say(`Your edit is in ${draft}.\n  → sidekey config edit   (continues it)`);
      return config.exit;
    }
  }
}

function kept(problem: SidekeyError, hint: Hint): SidekeyError {
  return new SidekeyError(problem.code, problem.message, { hint, cause: problem });
}

/** Creates the draft of this version of the file, or returns the draft of an earlier edit. */
async function openDraft({ output }: Context, file: string, text: string): Promise<string> {
  const prefix = `${basename(file, '.yaml')}.draft-`;
  const draft = join(dirname(file), `${prefix}${digestOf(text).slice(0, 8)}.yaml`);
  try {
    await writeFile(draft, text, { flag: 'wx', mode: 0o600 });
  } catch (cause) {
    if (!isSystemError(cause, 'EEXIST')) {
      const message = `The draft ${draft} cannot be written (${systemCode(cause)}).`;
      throw new SidekeyError('file_unwritable', message, { hint: 'make its folder writable', cause });
    }
    output.say(`Continuing your edit in ${draft}.`);
  }
  for (const name of await readdir(dirname(file))) {
    if (name.startsWith(prefix) && name !== basename(draft)) {
      output.say(
        `${join(dirname(file), name)} is an edit of an older version. Delete it if you do not need it.`,
      );
    }
  }
  return draft;
}

/** @throws SidekeyError `input_invalid`; also without a terminal, where the default editor would hang */
function readEditor({ env, ask }: Context): readonly string[] {
  const variable = env['VISUAL'] ? 'VISUAL' : 'EDITOR';
  if (ask === null && !env[variable]) {
    throw new SidekeyError('input_invalid', 'There is no terminal for an editor.', {
      hint: 'edit the file that "sidekey config path" names',
    });
  }
  const words = splitCommandLine(env[variable] || (process.platform === 'win32' ? 'notepad' : 'vi'));
  if (!('problem' in words)) return words;
  const hint = 'EDITOR=nano sidekey config edit';
  throw new SidekeyError('input_invalid', `${variable} ${words.problem}.`, { hint });
}

/** The editor handles Ctrl-C. */
function ignore(): void {}

async function runEditor([program = '', ...words]: readonly string[], draft: string, env: NodeJS.ProcessEnv) {
  process.on('SIGINT', ignore);
  const editing = once(spawn(program, [...words, draft], { env, stdio: 'inherit' }), 'close');
  const what = await editing.then(
    ([code, signal]) =>
      code === 0 ? null : code === null ? `was ended by ${signal}` : `ended with exit code ${code}`,
    (error: unknown) =>
      isSystemError(error, 'ENOENT') ? 'is not installed' : `cannot be started (${systemCode(error)})`,
  );
  process.off('SIGINT', ignore);
  if (what === null) return;
  throw new SidekeyError('input_invalid', `The editor ${program} ${what}. The config file is not changed.`, {
    hint: 'set VISUAL or EDITOR to another editor: EDITOR=nano sidekey config edit',
  });
}
