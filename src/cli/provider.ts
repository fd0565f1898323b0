import { examples, group, type Register } from './command.ts';

/** `sidekey provider`: the services that are known. */
export const registerProvider: Register = (program, bind) => {
  const provider = group(program, 'provider', 'the services that grants are for');
  examples(
    provider
      .command('list')
      .description('the built-in providers and those of the config file')
      .action(bind(async () => (await import('./provider/list.ts')).listProviders)),
    'sidekey provider list',
  );
  examples(
    provider
      .command('show')
      .description('where its tokens come from, where they may go, and how they are carried')
      .argument('<provider>', 'its name')
      .action(bind(async () => (await import('./provider/show.ts')).showProvider)),
    'sidekey provider show github',
  );
};
