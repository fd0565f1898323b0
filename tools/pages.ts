import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { rolldown } from 'rolldown';

/** Bundles the pages for browsers in memory: for a package, and for the first request to a checkout. */

const root = join(import.meta.dirname, '..');
const icons = join(root, 'node_modules/simple-icons/icons');

/** Names of icons for providers whose own name is not that of their icon. */
const iconNames: Readonly<Record<string, string>> = {
  'auth0-management': 'auth0',
  'claude-code': 'claudecode',
  dockerhub: 'docker',
  fly: 'flydotio',
  gemini: 'googlegemini',
  'github-app': 'github',
  'google-calendar': 'googlecalendar',
  'google-drive': 'googledrive',
  'jira-token': 'jira',
  linode: 'akamai',
  mistral: 'mistralai',
  'mongodb-atlas': 'mongodb',
};

interface Pages {
  /** Text of each file by its name below `/ui/`. */
  readonly files: ReadonlyMap<string, string>;
  /** Paths of all files that the texts contain. */
  readonly sources: readonly string[];
}

/** Returns the document, its script, its style, and the icons of providers. */
export async function bundlePages(): Promise<Pages> {
  const style = join(root, 'node_modules/uplot/dist/uPlot.min.css');
  await using bundle = await rolldown({
    input: join(root, 'src/pages/app.tsx'),
    platform: 'browser',
    tsconfig: false,
    transform: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  });
  const { output } = await bundle.generate({ minify: true, codeSplitting: false });
  const own = (name: string) => readFile(join(root, 'src/pages', name), 'utf8');
  return {
    files: new Map([
      ['index.html', await own('index.html')],
      ['style.css', (await readFile(style, 'utf8')) + (await own('style.css'))],
      ['app.js', output[0].code],
      ['icons.json', JSON.stringify(await providerIcons())],
    ]),
    sources: [...output[0].moduleIds, style, icons],
  };
}

/** Returns the path of each provider's icon, on a field of 24 by 24. Providers without one are absent. */
async function providerIcons(): Promise<Readonly<Record<string, string>>> {
  const providers = (await readdir(join(root, 'config/providers'))).map((file) => basename(file, '.yaml'));
  const known = new Set(await readdir(icons));
  const found = providers.toSorted().flatMap((provider) => {
    const file = `${iconNames[provider] ?? provider}.svg`;
    if (known.has(file)) return [[provider, file] as const];
    if (iconNames[provider] !== undefined) throw new Error(`simple-icons has no ${file} for ${provider}`);
    return [];
  });
  const paths = found.map(async ([provider, file]) => {
    const [, path = ''] =
      / d="([MmLlHhVvCcSsQqTtAaZz\d ,.-]+)"/.exec(await readFile(join(icons, file), 'utf8')) ?? [];
    if (path === '') throw new Error(`the icon ${file} has no path`);
    return [provider, path] as const;
  });
  return Object.fromEntries(await Promise.all(paths));
}
