import { examples, group, type Register } from './command.ts';

/** `sidekey provider`: the services that are known. */
export const registerProvider: Register = (program, bind) => {
  const provider = group(program, 'provider', 'the services that grants are for');
  examples(
    provider
      .command('list')
      .description('the built-in providers and those of the config file')
      .argument('[text]', 'only those whose name, title or category has it')
      .action(bind(async () => (await import('./provider/list.ts')).listProviders)),
    'sidekey provider list',
    'sidekey provider list calendar',
  );
  examples(
    provider
      .command('show')
      .description('how to connect to it, where its tokens come from and where they may go')
      .argument('<provider>', 'its name')
      .action(bind(async () => (await import('./provider/show.ts')).showProvider)),
    'sidekey provider show github',
  );
  examples(
    provider
      .command('check')
      .description('whether a provider file of your own is right')
      .argument('<file>', 'a file such as providers/acme.yaml')
      .action(bind(async () => (await import('./provider/check.ts')).checkProviderFile)),
    'sidekey provider check config/providers/acme.yaml',
  );
};
