import { copyFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { bundlePages } from './pages.ts';

/** An import of a module of Node, as rolldown writes it. */
const importOfOther = /^import (.+) from "(node:[\w/]+)";$/gm;

/**
 * Bundles the program with the libraries that it uses into a few files. A start that reads many hundreds of
 * them takes twice as long (decision 30). The demo is another entry, with the sample API.
 *
 * @param out folder of the output, below the root of a package
 */
export async function bundleProgram(out: string): Promise<void> {
  const pages = await bundlePages();
  await mkdir(join(out, 'pages'), { recursive: true });
  for (const [name, text] of pages.files) await writeFile(join(out, 'pages', name), text);
  await using bundle = await rolldown({
    input: {
      index: 'src/cli/index.ts',
      demo: 'examples/demo.ts',
      'fetch-agent': 'examples/demo/fetch-agent.ts',
    },
    platform: 'node',
    // A library of the demo evaluates a constant; the sources import some modules late, the bundle has them
    // in one file.
    checks: { eval: false, ineffectiveDynamicImport: false },
    plugins: [
      {
        name: 'licences',
        async generateBundle(_options, files) {
          const own = Object.values(files).flatMap((file) => (file.type === 'chunk' ? file.moduleIds : []));
          const source = await licencesOf([...own, ...pages.sources]);
          this.emitFile({ type: 'asset', fileName: 'LICENCES.txt', source });
        },
      },
      {
        name: 'built-in modules',
        renderChunk: (code) => ({
          code: code.replace(importOfOther, (_line, names: string, from: string) => taken(names, from)),
        }),
      },
    ],
  });
  await bundle.write({
    // All in one folder: from there the ways to the package's other files are those from `src/cli/`.
    dir: join(out, 'cli'),
    entryFileNames: '[name].js',
    chunkFileNames: '[name]-[hash].js',
    // A seventh of the package. The licences are in LICENCES.txt.
    comments: false,
    // Another seventh. Names stay, for traces.
    minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
    // All that serves is one file; what a command needs beyond that is in files of its own.
    // A character above U+00FF makes V8 keep the source of a whole file in two bytes for each character.
    charset: 'ascii',
    codeSplitting: { groups: [{ name: 'serve', test: /\/src\/cli\/start\.ts$/ }] },
  });
  {
    // The process that becomes a confined command loads nothing else.
    await using inside = await rolldown({ input: 'src/clients/confine/inside.ts', platform: 'node' });
    // Node.js loads CommonJS faster than a module.
    const file = join(out, 'cli', 'inside.cjs');
    await inside.write({ file, format: 'cjs', comments: false, codeSplitting: false });
  }
  await copyFile('src/sidekey.js', join(out, 'sidekey.js'));
  // The running proxy serves the first at /connect.js.
  const input = ['src/sdk/connect/connect.ts', 'src/sdk/connect/react.ts'];
  await using script = await rolldown({ input, platform: 'browser', external: 'react' });
  await script.write({ dir: join(out, 'connect'), minify: true });
}

/** Returns the licences of the libraries that own these modules. The licences go where the code goes. */
async function licencesOf(modules: readonly string[]): Promise<string> {
  const folders = modules.flatMap((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id)?.[0] ?? []);
  const texts = [...new Set(folders)].toSorted().map(async (folder) => {
    const name = folder.replace(/^.*\/node_modules\//, '');
    const file = (await readdir(folder)).find((each) => /^licen[cs]e/i.test(each));
    if (file !== undefined) return `${name}\n\n${(await readFile(join(folder, file), 'utf8')).trim()}\n`;
    const { license, author } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    if (typeof license !== 'string') throw new Error(`${name} has no licence to pass on`);
    return `${name}\n\n${license}${author ? `, ${author.name ?? author}` : ''}\n`;
  });
  return (await Promise.all(texts)).join(`\n${'-'.repeat(80)}\n\n`);
}

/**
 * Returns the declarations that replace an import. For an import of its own module, Node reads all exports,
 * and some load more modules (decision 30).
 */
function taken(names: string, from: string): string {
  const module = `process.getBuiltinModule("${from}")`;
  const [, whole, parts] = /^(?:\* as )?([\w$]+)?(?:, )?(?:\{(.+)\})?$/.exec(names) ?? [];
  if (whole === undefined && parts === undefined)
    throw new Error(`an import is written in another way: ${names}`);
  const declared = [
    ...(whole === undefined ? [] : [whole]),
    ...(parts === undefined ? [] : [`{${parts.replaceAll(' as ', ': ')}}`]),
  ];
  return declared.map((each) => `const ${each} = ${module};`).join(' ');
}
