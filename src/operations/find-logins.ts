import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseEnv, promisify } from 'node:util';
import { credentialVariables } from '../config/catalog.ts';
import type { Providers } from '../config/providers.ts';
import { readJson } from '../lib/json.ts';

/** A credential on this machine. */
export interface FoundLogin {
  readonly provider: string;
  /** Place of the login, in words for people. */
  readonly place: string;
  /** Command or file that removes it there; null: the program keeps its login. */
  readonly remove: string | null;
  /** The input of `connect PROVIDER --token`: the value, or an object of its parts. */
  readonly input: string;
}

/** The machine. Tests replace it. */
interface Machine {
  readonly env: NodeJS.ProcessEnv;
  readonly home: string;
  readonly folder: string;
}

/** Returns the machine with the person's working folder: npm runs scripts in the package's folder. */
export function machineOf(env: NodeJS.ProcessEnv): Machine {
  return { env, home: env['HOME'] ?? homedir(), folder: env['INIT_CWD'] ?? process.cwd() };
}

/**
 * Finds credentials that `connect --token` accepts: in variables, in `.env` of this folder, and of gh, aws,
 * docker and `.netrc`. Returns the first of each provider. Reads files and runs `gh`. Sends nothing.
 */
export async function findLogins(machine: Machine, providers: Providers): Promise<readonly FoundLogin[]> {
  const gh = await ghToken(machine.env);
  const found = Map.groupBy(allLogins(machine, providers, gh), ({ provider }) => provider);
  return Array.from(found.values(), ([first]) => first!);
}

function* allLogins(machine: Machine, providers: Providers, gh: string | null): Generator<FoundLogin> {
  const { env, home, folder } = machine;
  yield* inVariables(
    env,
    'the environment',
    'unset NAME, and delete it from the files of your shell',
    providers,
  );
  const file = join(folder, '.env');
  yield* inVariables(parseEnv(textOf(file)), file, `delete NAME from ${file}`, providers);
  if (gh !== null) yield { provider: 'github', place: 'the login of gh', remove: null, input: gh };
  yield* awsKeys(join(home, '.aws', 'credentials'));
  yield* dockerLogin(join(home, '.docker', 'config.json'));
  yield* netrcLogins(join(home, '.netrc'), providers);
}

function* inVariables(
  env: NodeJS.ProcessEnv,
  place: string,
  remove: string,
  providers: Providers,
): Generator<FoundLogin> {
  for (const { name: provider, environment } of credentialVariables(providers)) {
    // Variables without a placeholder are mostly of other kinds, such as OAuth tokens without a refresh.
    const usual = environment.filter(({ placeholder }) => placeholder !== null);
    const variable = (usual.length > 0 ? usual : environment).find(({ name, placeholder }) => {
      const value = env[name];
      return value !== undefined && value !== '' && value !== placeholder;
    });
    if (variable === undefined) continue;
    const parts = partsOf(providers, provider);
    const found = {
      provider,
      place: `${variable.name} in ${place}`,
      remove: remove.replace('NAME', variable.name),
    };
    if (parts === 1) yield { ...found, input: env[variable.name]! };
    else if (provider === 'aws') {
      const [id, secret] = [env['AWS_ACCESS_KEY_ID'], env['AWS_SECRET_ACCESS_KEY']];
      // A session token ends within hours.
      if (id && secret && !env['AWS_SESSION_TOKEN']) yield { ...found, input: awsInput(id, secret) };
    }
  }
}

/** Returns the number of values in a pasted credential of a provider; 0: the provider takes none. */
function partsOf(providers: Providers, name: string): number {
  const provider = providers.get(name);
  if (provider === undefined) return 0;
  return provider.token?.parts.length ?? (provider.flows.length === 0 ? 1 : 0);
}

/** Runs of `gh` that have not ended. Requests for the list at the same time share one. */
const running = new WeakMap<NodeJS.ProcessEnv, Promise<string | null>>();

/** Runs `gh`, without holding up the other work of this process. */
function ghToken(env: NodeJS.ProcessEnv): Promise<string | null> {
  const command = ['auth', 'token', '--hostname', 'github.com'];
  const token =
    running.get(env) ??
    promisify(execFile)('gh', command, { env, timeout: 5_000 })
      .then(({ stdout }) => stdout.trim() || null)
      .catch(() => null)
      .finally(() => running.delete(env));
  running.set(env, token);
  return token;
}

function* awsKeys(file: string): Generator<FoundLogin> {
  const [, profile = ''] = /^\[default\]\n((?:(?!\[).*\n?)*)/m.exec(textOf(file).replaceAll('\r', '')) ?? [];
  const valueOf = (name: string) => new RegExp(`^\\s*${name}\\s*=\\s*(\\S+)`, 'm').exec(profile)?.[1];
  const [id, secret] = [valueOf('aws_access_key_id'), valueOf('aws_secret_access_key')];
  if (id === undefined || secret === undefined || valueOf('aws_session_token') !== undefined) return;
  const place = `the profile default in ${file}`;
  yield { provider: 'aws', place, remove: `delete the profile from ${file}`, input: awsInput(id, secret) };
}

function awsInput(id: string, secret: string): string {
  return JSON.stringify({ access_key_id: id, secret_access_key: secret });
}

const dockerHub = 'https://index.docker.io/v1/';

/** Returns a Docker Hub login in the file itself. With a credential helper the file has none. */
function* dockerLogin(file: string): Generator<FoundLogin> {
  const reading = readJson(textOf(file));
  if (!reading.ok || !(reading.value instanceof Map)) return;
  const auths: unknown = reading.value.get('auths');
  const entry: unknown = auths instanceof Map ? auths.get(dockerHub) : undefined;
  const auth: unknown = entry instanceof Map ? entry.get('auth') : undefined;
  if (typeof auth !== 'string') return;
  const [, username, token] = /^([^:]+):(.+)$/s.exec(Buffer.from(auth, 'base64').toString()) ?? [];
  if (username === undefined || token === undefined) return;
  const input = JSON.stringify({ username, token });
  yield { provider: 'dockerhub', place: `the login of docker in ${file}`, remove: 'docker logout', input };
}

/** Hosts of `.netrc` whose password is a token of a provider. */
const netrcHosts: Readonly<Record<string, string>> = {
  'github.com': 'github',
  'api.github.com': 'github',
  'gitlab.com': 'gitlab',
  'api.heroku.com': 'heroku',
  'huggingface.co': 'huggingface',
};

function* netrcLogins(file: string, providers: Providers): Generator<FoundLogin> {
  const entries = textOf(file).matchAll(/\bmachine\s+(\S+)((?:(?!\bmachine\s)[\s\S])*)/g);
  for (const [, host = '', rest = ''] of entries) {
    const provider = netrcHosts[host];
    const password = /\bpassword\s+(\S+)/.exec(rest)?.[1];
    if (provider === undefined || password === undefined || partsOf(providers, provider) !== 1) continue;
    const remove = `delete the entry of ${host} from ${file}`;
    yield { provider, place: `the entry of ${host} in ${file}`, remove, input: password };
  }
}

/** Returns the text of a file; empty if it cannot be read. */
function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
