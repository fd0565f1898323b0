import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { rolldown } from 'rolldown';

/**
 * `npm run executable`: one file that is Sidekey, with Node.js and the files of the package inside
 * (https://nodejs.org/api/single-executable-applications.html), and `SHA256SUMS`, a bill of materials
 * and the licences beside it. Needs `npm run build` first, which collects those of the libraries.
 *
 * Options: `--out FOLDER` (default: `packaging/out`).
 */
const { values } = parseArgs({ options: { out: { type: 'string', default: 'packaging/out' } } });
const out = resolve(values.out);
const name = `sidekey-${process.platform}-${process.arch}${process.platform === 'win32' ? '.exe' : ''}`;

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const main = join(out, 'main.cjs');
{
  // One file: the main of an executable can import nothing but modules of Node.js.
  await using bundle = await rolldown({ input: 'packaging/main.ts', platform: 'node', logLevel: 'silent' });
  await bundle.write({ file: main, format: 'cjs', codeSplitting: false });
}
const files = [
  'package.json',
  'config/*.{cjs,yaml,json}',
  'config/providers/*.yaml',
  'skills/**/*.md',
  'dist/connect/connect.js',
  'dist/pages/*',
  'man/*.1',
];
const assets = files.flatMap((pattern) => globSync(pattern)).filter((file) => file !== 'config/sidekey.yaml');
const node = join(out, 'node');
copyFileSync(process.execPath, node);
// Without the symbols of its functions, Node.js has 30 MB less. Other systems sign it.
if (process.platform === 'linux') execFileSync('strip', ['--strip-all', node]);
const config = join(out, 'sea.json');
writeFileSync(
  config,
  JSON.stringify({
    main,
    executable: node,
    output: join(out, name),
    disableExperimentalSEAWarning: true,
    useCodeCache: true,
    assets: Object.fromEntries(assets.map((file) => [file.replaceAll('\\', '/'), resolve(file)])),
  }),
);
execFileSync(process.execPath, ['--build-sea', config], { stdio: ['ignore', 'ignore', 'inherit'] });
chmodSync(join(out, name), 0o755);
for (const each of [main, config, node]) rmSync(each);

// The licence of Node.js has those of what is in it, such as OpenSSL and V8. It lies in the folder above that
// of the program.
const ofNode = readFileSync(join(dirname(dirname(process.execPath)), 'LICENSE'), 'utf8');
const parts = [readFileSync('dist/cli/LICENCES.txt', 'utf8'), `Node.js\n\n${ofNode}`];
writeFileSync(join(out, 'LICENCES.txt'), parts.join(`\n${'-'.repeat(80)}\n\n`));

const sbom = execFileSync('npm', ['sbom', '--sbom-format', 'cyclonedx'], { maxBuffer: 1 << 28 });
writeFileSync(join(out, 'sidekey.cdx.json'), sbom);
const sums = [name, 'LICENCES.txt', 'sidekey.cdx.json'].map((file) => {
  const digest = createHash('sha256')
    .update(readFileSync(join(out, file)))
    .digest('hex');
  return `${digest}  ${file}\n`;
});
writeFileSync(join(out, 'SHA256SUMS'), sums.join(''));
