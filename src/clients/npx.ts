import { delimiter, dirname, join } from 'node:path';

/** Settings that npm exports although nobody set them, or that are about npx itself. */
const ofNpx: ReadonlySet<string> = new Set([
  'npm_config_global_prefix',
  'npm_config_local_prefix',
  'npm_config_node_gyp',
  'npm_config_npm_version',
  'npm_config_user_agent',
  'npm_config_yes',
  'npm_config_package',
  'npm_config_call',
]);

/**
 * Returns the environment without the variables and the entries of the `PATH` that npx (`npm exec`) adds for
 * this process. `npm run` is left alone, because its scripts want these. An `npm_config_` setting that a
 * person or an `.npmrc` may have made stays, unless it is npm's default.
 */
export function withoutNpx(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  if (env['npm_command'] !== 'exec' || env['npm_execpath'] === undefined) return env;
  const defaults = npmDefaults(env);
  const isAdded = ([name, value = '']: readonly [string, string | undefined]): boolean => {
    if (ofNpx.has(name)) return true;
    if (name.startsWith('npm_config_')) return defaults[name]?.includes(value) === true;
    // npm sets EDITOR to its own default, and COLOR to whether its output is a terminal.
    if (name === 'EDITOR') return value === 'vi' || value === 'notepad.exe';
    if (name === 'NODE') return value === env['npm_node_execpath'];
    return name.startsWith('npm_') || name === 'INIT_CWD' || name === 'COLOR';
  };
  const variables = Object.fromEntries(Object.entries(env).filter((entry) => !isAdded(entry)));
  return { ...variables, PATH: pathWithoutNpx(env['PATH'] ?? '') };
}

/** Defaults of the settings that npm always exports. Removing one changes nothing for npm in the child. */
function npmDefaults(env: NodeJS.ProcessEnv): Readonly<Record<string, readonly string[]>> {
  const { HOME: home = '', npm_node_execpath: node = '' } = env;
  const prefix = dirname(dirname(node));
  return {
    npm_config_cache: [join(home, '.npm')],
    npm_config_userconfig: [join(home, '.npmrc')],
    npm_config_init_module: [join(home, '.npm-init.js')],
    npm_config_prefix: [prefix],
    npm_config_globalconfig: [join(prefix, 'etc', 'npmrc')],
    npm_config_allow_scripts: [''],
    npm_config_noproxy: ['', env['NO_PROXY'] ?? '', env['no_proxy'] ?? ''],
  };
}

/** Removes the entries that npm prepends; the last is the folder of node-gyp (`@npmcli/run-script`). */
function pathWithoutNpx(path: string): string {
  const entries = path.split(delimiter);
  const last = entries.findIndex((entry) => /[\\/]run-script[\\/]lib[\\/]node-gyp-bin$/.test(entry));
  return entries.slice(last + 1).join(delimiter);
}
