import { isName, titleOf } from '../../domain/grant.ts';
import { SidekeyError } from '../../lib/errors.ts';
import { changeGrant } from '../../operations/grant.ts';
import type { CommandRow } from '../command.ts';
import type { Context } from '../context.ts';
import { details } from '../display.ts';
import { type GivenOptions, optionRows, perform } from '../operation-command.ts';
import { scopesOf, settingsRows } from './format.ts';
import { grantArgument, ownerWords } from './words.ts';

/** Words and text of `sidekey grant set`. */

const words = {
  ...ownerWords,
  expires: { summary: 'expiry of the grant itself: 30d, a date, or none', value: 'when' },
  ttl: { summary: 'expire after this time from now', value: 'span' },
  max_ttl: { summary: 'maximum of --expires and --ttl; none: no maximum', value: 'span' },
  lease_ttl: { summary: 'default lifetime of leases; none: that of the config', value: 'span' },
  max_lease_ttl: { summary: 'maximum lifetime of leases; none: that of the config', value: 'span' },
  labels: {
    summary: 'its labels; they replace those that it has',
    none: 'no labels',
    name: 'label',
  },
  metadata: {
    summary: 'add metadata; KEY= removes the key; may be given several times',
    name: 'meta',
    value: 'key=value',
    repeated: true,
    read: async (_context: Context, written: readonly string[]) => metadataOf(written),
  },
  scopes: {
    summary: 'a scope that it keeps, of those that it has; as for connect',
    name: 'scope',
    repeated: true,
  },
} as const;

async function set(context: Context, grant: string, options: GivenOptions): Promise<void> {
  const { output } = context;
  const given = { words, options, fixed: { grant } };
  const { result, answer, at } = await perform(context, changeGrant, given);
  const { expires, labels, ...rest } = settingsRows(result.policy, at);
  output.result(
    answer,
    details(output.display, titleOf(result.grant), {
      scopes: scopesOf(result.grant),
      expires: expires ?? 'no end',
      ...rest,
      labels: labels ?? 'none',
    }),
  );
}

/** Parses `--meta KEY=VALUE`. @throws SidekeyError `input_invalid` */
export function metadataOf(written: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    written.map((text) => {
      const [, key = '', value] = /^([^=]*)=(\P{Cc}{0,256})$/u.exec(text) ?? [];
      if (value !== undefined && isName(key)) return [key, value];
      throw new SidekeyError('input_invalid', '--meta is not KEY=VALUE, or longer than 256 characters.', {
        hint: '--meta team=infra; --meta team= removes the key',
      });
    }),
  );
}

export const setCommandRow: CommandRow = {
  name: 'set',
  summary: 'change the expiry, the lease times, the labels, the metadata or the scopes of a grant',
  arguments: grantArgument,
  options: optionRows(changeGrant, words),
  examples: [
    'sidekey grant set github --expires 30d --max-lease-ttl 1h --label staging',
    'sidekey grant set github --ttl 30d',
  ],
  load: async () => set,
};
