import { basename } from 'node:path';
import { readProviderFile, settle } from '../../config/catalog.ts';
import { configInvalid } from '../../config/problem.ts';
import { checkProvider } from '../../config/provider-check.ts';
import { isName } from '../../grants/grant.ts';
import type { Context } from '../context.ts';

/**
 * `sidekey provider check FILE`: what a file of the catalog has to be, and how its parts have to fit together.
 *
 * @throws SidekeyError `config_missing`, `config_invalid` with every problem and its place
 */
export async function checkProviderFile({ output }: Context, path: string): Promise<void> {
  const entry = settle(readProviderFile(path), {});
  const problems = checkProvider(entry).map((misfit) => ({
    ...entry.document.position(misfit.path, 'key'),
    ...misfit,
  }));
  const name = basename(path).replace(/\.yaml$/, '');
  if (name === basename(path) || !isName(name)) {
    const message = 'the file must be called as the provider is, and end in .yaml';
    problems.push({ line: 1, column: 1, path: [], message });
  }
  if (problems.length > 0) throw configInvalid(path, problems);
  const { title, audience } = entry.definition;
  output.result({ file: path, name, valid: true }, `${path} is right: ${name} (${title}).`);
  output.say(
    `Its credential may be sent to ${audience.map(({ text }) => text).join(', ')}.\n` +
      '  → put it into the folder "providers" beside the config file, and it goes before a built-in one of that name',
  );
}
