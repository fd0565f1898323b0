import { examples, type Register } from './command.ts';

/** `sidekey doctor`: whether everything is in order, and which programs work through the proxy. */
export const registerDoctor: Register = (program, bind) => {
  examples(
    program
      .command('doctor')
      .description('whether all is in order, and which programs of this machine work through the proxy')
      .option('--only <client...>', 'ask these programs alone, and look at nothing else')
      .option('--offline', 'ask no upstream')
      .action(bind(async () => (await import('./doctor/doctor.ts')).doctor)),
    'sidekey doctor',
    'sidekey doctor --only git python',
  );
};
