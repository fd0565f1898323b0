import { examples, group, type Register } from './command.ts';
import { agentNames } from './skill/places.ts';

/** `sidekey skill`: what tells agents how to call APIs through Sidekey. */
export const registerSkill: Register = (program, bind) => {
  const skill = group(program, 'skill', 'the page that tells agents how to call APIs through Sidekey');
  examples(
    skill
      .command('install')
      .description('put it where agents look; nothing that a person wrote is overwritten')
      .option('--for <agent...>', `for these: ${agentNames.join(', ')} (default: those that are there)`)
      .option('--project', 'in this folder, for everybody who works on it')
      .option('--user', 'in the home folder, for all projects (default)')
      .option('--force', 'also over a file that is not ours, or was changed')
      .option('--print', 'show what would be written, and write nothing')
      .action(bind(async () => (await import('./skill/install.ts')).installSkill)),
    'sidekey skill install --for claude --project',
  );
  examples(
    skill
      .command('show')
      .description('show it')
      .action(bind(async () => (await import('./skill/install.ts')).showSkill)),
    'sidekey skill show',
  );
};
