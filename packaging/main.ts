import { existsSync } from 'node:fs';
import { run } from '../src/cli/index.ts';

/**
 * The main of the executable. Its arguments may begin as those of Node.js do when this program starts itself: with an option
 * for a file of variables, and with the program.
 */
const args = process.argv.slice(2);
const variables = /^--env-file-if-exists=(.*)$/s.exec(args[0] ?? '')?.[1];
if (variables !== undefined) args.shift();
if (variables !== undefined && existsSync(variables)) process.loadEnvFile(variables);
if (args[0] === process.execPath) args.shift();
// The format of the executable's main has no await at the top.
void run(args).then((code) => {
  process.exitCode = code;
});
