import { examples, type Register } from './command.ts';

/** `sidekey status`: whether all is well. */
export const registerStatus: Register = (program, bind) => {
  examples(
    program
      .command('status')
      .description('whether all is well, and what needs attention (then the exit code is 1)')
      .option('--health', 'only whether the proxy answers, for a health check')
      .action(bind(async () => (await import('./status/status.ts')).status)),
    'sidekey status',
    'HEALTHCHECK CMD ["sidekey", "status", "--health"]',
  );
};
