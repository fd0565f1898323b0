import { displayName } from '../../config/problem.ts';
import type { Config } from '../../config/config.ts';
import { loadConfig } from '../../config/load.ts';
import { type ConfigLocation, isToBeMade } from '../../config/locate.ts';
import { type Context, withUpstreamClient } from '../context.ts';
import { unlistedHosts } from '../../operations/format.ts';
import { columns } from '../display.ts';
import { exitCode } from '../../lib/failures.ts';
import { placesOf } from '../../operations/config.ts';
import { checkProviderFile } from '../provider.ts';

/** `sidekey config path`: for an invalid file, prints the paths of its valid parts. */
export async function showPaths(context: Context): Promise<void> {
  const { env, output } = context;
  const location = await context.configLocation();
  const { config, lost } = await context.readValidConfig();
  const places = Object.fromEntries(
    Object.entries(placesOf(config)).map(([name, place]) => [name, lost.has(name) ? null : place]),
  );
  const { file, origin } = location;
  const exists = !isToBeMade(location);
  output.result(
    { config: file, exists, origin, ...places },
    [
      ...columns(output.display, [
        ['config', `${file}${exists ? '' : '   (not created yet)'}`],
        ...Object.entries(places).map(([name, place]) => [
          name === 'ca' ? 'CA' : name,
          place ?? 'unknown: this part of the config file is not valid',
        ]),
      ]),
      '',
      reasonFor(location, env),
    ].join('\n'),
  );
  if (lost.size > 0) output.say('The config file is not valid:\n  → sidekey config check');
}

function reasonFor({ origin }: ConfigLocation, env: NodeJS.ProcessEnv): string {
  return {
    option: '--config names the config file, and that file names the other paths.',
    environment: 'SIDEKEY_CONFIG names the config file, and that file names the other paths.',
    home: `SIDEKEY_HOME is ${env['SIDEKEY_HOME']}. The config file names the other paths.`,
    default: 'This is the default. SIDEKEY_HOME=FOLDER takes another folder, for all of them.',
  }[origin];
}

/** `sidekey config check [FILE]`: exit code 1 if a test fails. @throws SidekeyError as `sidekey start` */
export async function checkConfig(
  context: Context,
  named: string | undefined,
  { provider, tests }: { readonly provider?: string; readonly tests?: string },
): Promise<number | void> {
  if (provider !== undefined) return checkProviderFile(context, provider);
  const { env, output } = context;
  if (tests !== undefined) {
    const config = await (named === undefined ? context.readConfig() : loadAsStart(named, env));
    return (await import('./test.ts')).compareCases(context, config, tests);
  }
  const location = named === undefined ? await context.configLocation() : null;
  if (location !== null && isToBeMade(location)) {
    const text = `There is no config file ${location.file} yet.\n  → sidekey init`;
    output.result({ ok: false, file: location.file, exists: false }, text);
    return exitCode.failure;
  }
  const config = await loadAsStart(named ?? location?.file ?? '', env);
  const text = `${displayName(config.file)} is valid.\n${unlistedHosts(config)}`;
  output.result({ ok: true, file: config.file, exists: true, unmatched: config.proxy.unmatchedHosts }, text);
}

/** Validates a config file and its certificates and keys. */
export async function loadAsStart(file: string, env: NodeJS.ProcessEnv): Promise<Config> {
  const config = await loadConfig(file, { env });
  await withUpstreamClient(config, env, () => Promise.resolve());
  return config;
}
