import { existsSync } from 'node:fs';
import { sep } from 'node:path';
import { run } from '../src/cli/index.ts';

/**
 * The main of the executable. Its arguments may begin as those of Node.js do when this program starts itself:
 * with an option for a file of variables, and with the program. The demo starts two programs of its own,
 * whose paths lead into the executable.
 */
const args = process.argv.slice(2);
const variables = /^--env-file-if-exists=(.*)$/s.exec(args[0] ?? '')?.[1];
if (variables !== undefined) args.shift();
if (variables !== undefined && existsSync(variables)) process.loadEnvFile(variables);
if (args[0] === process.execPath) args.shift();
// The format of the executable's main has no await at the top.
if (args[0]?.startsWith(process.execPath + sep)) {
  process.argv.splice(1, 1);
  void (args[0].includes('fetch-agent')
    ? import('../examples/demo/fetch-agent.ts')
    : import('../examples/demo.ts'));
} else {
  void run(args).then((code) => {
    process.exitCode = code;
  });
}
