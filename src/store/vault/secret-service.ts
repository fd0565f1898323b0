import type { KeyObject } from 'node:crypto';
import { SidekeyError } from '../../lib/errors.ts';
import { programFailure, runBounded } from '../../lib/programs.ts';
import { newMasterKey, type OpenKeySource, parseKey, withBytes } from './key-source.ts';

export interface SecretServiceParts {
  /** Name of the entry: one for each store. */
  readonly account: string;
  readonly platform: NodeJS.Platform;
  readonly env: NodeJS.ProcessEnv;
}

/** Time for a person to unlock the keyring, in milliseconds. */
const timeoutMs = 60_000;

/**
 * Opens the keyring: the Secret Service of the desktop through `secret-tool` (libsecret), or the Keychain of
 * macOS through `security`. The key passes through pipes, never through arguments. Without a keyring it
 * fails; there is no fallback.
 */
export function openSecretService(parts: SecretServiceParts): OpenKeySource {
  const { account } = parts;
  const attributes = ['service', 'sidekey', 'store', account];
  const isMac = parts.platform === 'darwin';

  async function read(): Promise<KeyObject | null> {
    const lookup = isMac
      ? await run(parts, 'security', ['find-generic-password', '-s', 'sidekey', '-a', account, '-w'])
      : await run(parts, 'secret-tool', ['lookup', ...attributes]);
    if (lookup.code === 0 && lookup.output !== '') return parseKey(lookup.output, 'The keyring');
    // A missing entry, not an unreachable keyring: errSecItemNotFound, or no message.
    if (isMac ? lookup.code === 44 : lookup.code === 1 && lookup.error === '') return null;
    throw unreachable(lookup.error);
  }

  async function replace(key: KeyObject): Promise<void> {
    const text = withBytes(key, (bytes) => bytes.toString('base64url'));
    const write = isMac
      ? // Interactive mode, because an argument would show the key to other users.
        await run(
          parts,
          'security',
          ['-i'],
          `add-generic-password -U -s sidekey -a "${account}" -w "${text}"\n`,
        )
      : await run(parts, 'secret-tool', ['store', '--label=Sidekey master key', ...attributes], text);
    if (write.code !== 0) throw unreachable(write.error);
    const stored = await read();
    if (stored === null || !stored.equals(key)) throw unreachable('it did not keep the key');
  }

  return {
    read,
    async create() {
      // Another process may have made the key since: a keyring replaces an entry without confirmation.
      const stored = await read();
      if (stored !== null) return stored;
      const key = newMasterKey();
      await replace(key);
      return key;
    },
    replace,
    place: `The master key of ${account} in the keyring`,
  };
}

async function run(
  { env, platform }: SecretServiceParts,
  program: string,
  words: readonly string[],
  input?: string,
) {
  if (platform === 'win32') throw unreachable('no program of Windows reads its credential manager');
  const bounds = { timeoutMs, maxBytes: 65_536 };
  const end = await runBounded({ argv: [program, ...words], cwd: process.cwd(), env, input, ...bounds });
  if (end.kind !== 'ended') throw unreachable(`${program} ${programFailure(end, timeoutMs)}`);
  return { code: end.code, output: end.output.toString().trim(), error: end.error.trim() };
}

function unreachable(why: string): SidekeyError {
  const detail = why.split('\n', 1)[0]?.slice(0, 200) ?? '';
  return new SidekeyError('key_invalid', `The keyring cannot be used${detail === '' ? '' : `: ${detail}`}.`, {
    hint: 'log in to a desktop with a keyring and install secret-tool (Debian: libsecret-tools); a service without a desktop needs another key source, such as "key: { source: file }"',
  });
}
