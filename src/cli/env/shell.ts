import { shells, type Shell } from '../../clients/render.ts';
import { SidekeyError } from '../../errors.ts';
import { shellWord } from '../../shell-word.ts';

const otherNames: Readonly<Record<string, Shell>> = { sh: 'bash', zsh: 'bash', pwsh: 'powershell' };

/** @throws SidekeyError `input_invalid` */
export function readShell(text: string): Shell {
  const shell =
    shells.find((name) => name === text) ?? (Object.hasOwn(otherNames, text) ? otherNames[text] : undefined);
  if (shell !== undefined) return shell;
  throw new SidekeyError('input_invalid', 'The shell of --shell is not known.', {
    hint: `one of ${shells.join(', ')}; zsh and sh read what bash does`,
  });
}

/** What a person should know of variables that go elsewhere than into a shell. */
export function shellNotes(shell: Shell, remove: readonly string[], trustFolder: string): readonly string[] {
  if (shell === 'docker') {
    const mount = shellWord(`${trustFolder}:${trustFolder}:ro`);
    return [
      `For: docker run --env-file FILE -v ${mount} --network host …`,
      '127.0.0.1 is the container itself without --network host: name the proxy as it sees it with --proxy.',
    ];
  }
  return shell === 'dotenv' && remove.length > 0
    ? [`A dotenv file takes no variable away: see to it that ${remove.join(', ')} are not set.`]
    : [];
}
