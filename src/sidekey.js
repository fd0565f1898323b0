#!/usr/bin/env node
// The program's door. Plain JavaScript that old versions of Node can read, so that they can be told so.
import module from 'node:module';
import { fileURLToPath } from 'node:url';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 24 || (major === 24 && minor < 15)) {
  process.stderr.write(
    `Sidekey needs Node.js 24.15 or later, and this is ${process.versions.node}. ` +
      'In a checkout "npm ci" brings one: use "npm start" or "npx sidekey".\n',
  );
  process.exit(1);
}

// A checkout runs its sources; a package carries them compiled, because Node strips no types below node_modules.
const here = new URL('.', import.meta.url).pathname;
const isSource = here.endsWith('/src/');
const isInstalled = here.includes('/node_modules/');
let entry = './cli/index.js';
if (isSource && isInstalled) entry = '../dist/cli/index.js';
if (isSource && !isInstalled) entry = './cli/index.ts';
// Not in the shared temporary folder, where others could put code for us to run: whoever may write here may change the
// program too. Where nobody may, there is no cache, and a start takes longer.
module.enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/sidekey', import.meta.url)));
const { run } = await import(entry);
process.exitCode = await run(process.argv.slice(2));
