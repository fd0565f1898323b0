import {
  changedNames,
  renderRestored,
  renderVariables,
  type Shell,
  shellOf,
  shells,
} from '../clients/environment.ts';
import { SidekeyError } from '../lib/errors.ts';
import { shellWord } from '../lib/text.ts';
import { getEnvironment } from '../operations/environment.ts';
import { cappedText, leaseClockText } from '../operations/lease-text.ts';
import type { OptionRow } from './command.ts';
import type { Context } from './context.ts';
import { type GivenOptions, optionRows, perform } from './operation-command.ts';

const words = {
  proxy: { summary: 'address of the proxy, where it is not the one in the config', value: 'url' },
  agent: { summary: 'make a lease of this agent, and print its token', value: 'name' },
  grants: { summary: 'the lease is for these grants (default: all that the agent reaches)', name: 'grant' },
  ttl: { summary: 'lifetime of the lease: 15m, 8h', value: 'span' },
  keep: {
    summary: 'leave these variables alone: credentials, or settings such as JAVA_TOOL_OPTIONS',
    value: 'name',
  },
  base_urls: { summary: 'for programs that know no proxy: base addresses and keys of APIs' },
} as const;

export const envOptions: readonly OptionRow[] = [
  [
    '--shell <shell>',
    'bash (also for zsh and sh), fish, powershell, dotenv, json or docker; default: your shell. dotenv and docker set variables and remove none',
  ],
  ...optionRows(getEnvironment, words),
  ['--unset', 'print what restores the variables of this shell, with the values that they had'],
];

/**
 * `sidekey env`: prints the variables for a running proxy. With `--agent` they include the token of a new
 * lease, intentionally on standard output.
 */
export async function printEnvironment(
  context: Context,
  { shell: named, unset, ...options }: GivenOptions,
): Promise<void> {
  const { output, env: parent } = context;
  const shell = named === undefined ? shellOf(parent, process.platform) : readShell(named as string);
  if (unset === true) return printRestored(context, shell);
  const { result, answer, at } = await perform(context, getEnvironment, { words, options });
  const notes = [...result.notes, ...shellNotes(shell, result.remove, result.folder)];
  if (output.json) return output.result({ ...answer, notes }, '');
  output.bytes(Buffer.from(renderVariables(shell, result, parent[changedNames])));
  const { made } = result;
  const lines = [...notes];
  if (made !== null) {
    const capped = cappedText(made.ttl, options['ttl'] as string | undefined) ?? [];
    const once = `The token of the lease ${made.lease.id} is in these lines, and is shown only once.`;
    lines.unshift(once, leaseClockText(made.lease, at), ...[capped].flat());
  }
  if (lines.length > 0) output.say(lines.join('\n'));
}

/**
 * Prints commands that undo the variables. Keeps the lease: other shells may have its token.
 *
 * @throws SidekeyError `not_found`
 */
function printRestored({ output, env }: Context, shell: Shell): void {
  const text = renderRestored(shell, env[changedNames]);
  if (text === null) {
    throw new SidekeyError('not_found', 'This shell has no variables of sidekey env.', {
      hint: 'eval "$(sidekey env)" sets them',
    });
  }
  if (output.json) output.result({ text }, '');
  else output.bytes(Buffer.from(text));
  if (URL.parse(env['HTTPS_PROXY'] ?? '')?.password)
    output.say(
      'The lease of this shell stays valid until its end: sidekey lease list, sidekey lease revoke ID',
    );
}

const otherNames: Readonly<Record<string, Shell>> = { sh: 'bash', zsh: 'bash', pwsh: 'powershell' };

/** @throws SidekeyError `input_invalid` */
function readShell(text: string): Shell {
  const shell =
    shells.find((name) => name === text) ?? (Object.hasOwn(otherNames, text) ? otherNames[text] : undefined);
  if (shell !== undefined) return shell;
  throw new SidekeyError('input_invalid', 'The shell of --shell is not known.', {
    hint: `one of ${shells.join(', ')}; zsh and sh read what bash does`,
  });
}

/** Notes for formats that no shell reads. */
function shellNotes(shell: Shell, remove: readonly string[], trustFolder: string): readonly string[] {
  if (shell === 'docker') {
    const mount = shellWord(`${trustFolder}:${trustFolder}:ro`);
    return [
      `For: docker run --env-file FILE -v ${mount} --network host …`,
      '127.0.0.1 is the container itself without --network host: name the proxy as it sees it with --proxy.',
    ];
  }
  return shell === 'dotenv' && remove.length > 0
    ? [`A dotenv file removes no variable: make sure that ${remove.join(', ')} are not set.`]
    : [];
}
