import { basename } from 'node:path';
import { SidekeyError } from '../../lib/errors.ts';
import { programFailure, type ProgramEnd, runBounded } from '../../lib/programs.ts';
import { shellWord, withoutStop } from '../../lib/text.ts';
import { describe } from '../oauth/description.ts';
import type { SourceForm } from '../../domain/credential.ts';
import type { Source, SourceParts, SourceQuestion, SourceValue } from './source.ts';
import { readValue } from './value.ts';

type Command = Extract<Source, { readonly kind: 'command' }>;

/** Milliseconds; a helper may ask a person to unlock something. */
const timeoutMs = 30_000;
const maxBytes = 65_536;

/** Variables of the user, the desktop and Windows. None of them is secret. */
const usual = `
  HOME PATH USER LOGNAME SHELL LANG LC_ALL LC_CTYPE TZ TMPDIR DBUS_SESSION_BUS_ADDRESS DISPLAY WAYLAND_DISPLAY XAUTHORITY
  XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME XDG_STATE_HOME XDG_RUNTIME_DIR SSH_AUTH_SOCK GPG_TTY
  SystemRoot SystemDrive ComSpec PATHEXT TEMP TMP USERNAME USERPROFILE HOMEDRIVE HOMEPATH APPDATA LOCALAPPDATA
  ProgramData ProgramFiles ProgramFiles(x86)`;

/** Network variables. After `sidekey env` they point to Sidekey, which would wait for the helper. */
const network = `
  HTTPS_PROXY HTTP_PROXY ALL_PROXY NO_PROXY https_proxy http_proxy all_proxy no_proxy
  SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE AWS_CA_BUNDLE NODE_EXTRA_CA_CERTS`;

/** Runs a helper and parses its output. @throws SidekeyError `source_failed` */
export async function runHelper(
  source: Command,
  { credential, audience, signal }: SourceQuestion,
  { env, cwd, now }: SourceParts,
): Promise<SourceValue> {
  const { argv, input, form } = spoken(source, credential.form, audience);
  const named = env['SIDEKEY_ENV'] === undefined ? usual + network : usual;
  const names = [...named.trim().split(/\s+/), ...source.environment];
  const bounded = Object.fromEntries(names.map((name) => [name, env[name]]));
  const end = await runBounded({ argv, cwd, env: bounded, input, timeoutMs, maxBytes, signal });
  const helper = basename(argv[0] ?? '');
  const hint = source.login ?? `run it by hand, as the user that runs Sidekey: ${shellWord(helper)}`;
  if (end.kind !== 'ended' || end.code !== 0) {
    const secrets = source.environment
      .filter((name) => /(?:TOKEN|SESSION)$/.test(name))
      .map((name) => env[name] ?? '');
    const line = end.kind === 'ended' ? firstLine(end, form, secrets) : '';
    const why = `${helper} ${programFailure(end, timeoutMs)}${line === '' ? '' : `: ${line}`}`;
    throw new SidekeyError('source_failed', `${withoutStop(why)}.`, {
      hint: end.kind === 'not_run' ? `install ${helper}, or start Sidekey with a PATH that has it` : hint,
    });
  }
  try {
    return readValue(end.output.toString('utf8'), form, now);
  } catch (error) {
    if (!(error instanceof SidekeyError)) throw error;
    throw new SidekeyError('source_failed', `${helper} gave no credential: ${error.message}`, { hint });
  }
}

/** Completes arguments and input of the helpers of Docker and git, which expect a host. */
function spoken({ argv, input, form }: Command, stated: SourceForm | null, audience: readonly string[]) {
  const program = basename(argv[0] ?? '').replace(/\.exe$/i, '');
  const known =
    stated ??
    form ??
    (program.startsWith('docker-credential-') ? 'docker' : null) ??
    (program.startsWith('git-credential-') || /^git credential\b(?!-)/.test(argv.join(' ')) ? 'git' : null);
  if (input !== null || (known !== 'docker' && known !== 'git'))
    return { argv, input: input ?? '', form: known };
  const verb = program === 'git' ? 'fill' : 'get';
  const host = audience.find((text) => !text.includes('*')) ?? '';
  return {
    argv: argv.at(-1) === verb ? argv : [...argv, verb],
    input: known === 'docker' ? host : `protocol=https\nhost=${host}\n\n`,
    form: known,
  };
}

/**
 * Returns the first line of a helper's error, without its standard output and words like tokens. Helpers of
 * Docker write errors to standard output.
 */
function firstLine(
  { output, error }: Extract<ProgramEnd, { kind: 'ended' }>,
  form: SourceForm | null,
  known: readonly string[],
): string {
  const printed = output.toString('utf8');
  const isSaid = form === 'docker' && error.trim() === '';
  const [line = ''] = (isSaid ? printed : error).trim().split(/[\r\n]/, 1);
  const secrets = isSaid ? [] : printed.split(/\s+/).filter((word) => word.length >= 8);
  return describe(line, [...known, ...secrets]).replace(/[\w+=~-]{20,}/g, (word) =>
    /\d/.test(word) ? '[redacted]' : word,
  );
}
