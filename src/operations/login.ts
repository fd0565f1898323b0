import { z } from 'zod';
import { SidekeyError } from '../lib/errors.ts';
import { assertScopes } from './caller.ts';
import { pastedToken, readParts } from './connect/pasted.ts';
import { findLogins, type FoundLogin, machineOf } from './find-logins.ts';
import { addChoices, addOne } from './grant-add.ts';
import { addedAnswer, addedGrant } from './grant-import.ts';
import { findProvider } from './lookup.ts';
import { changing, type Opened, reading, type Reading } from './operation.ts';
import { named } from './members.ts';

/** Keys of the machine on which Sidekey runs. No answer contains their values. */

const foundLogin = named('FoundLogin', {
  provider: z.string(),
  title: z.string(),
  place: z.string(),
  remove: z.string().nullable().describe('Command or edit that removes it there; null: none is needed.'),
  connected: z.boolean().describe('True if the provider has an active grant.'),
});

/**
 * Finds keys for the providers of the catalog. A definition of the config file is left out: whoever may
 * write the file could name any variable in it, and a host that gets its value.
 */
async function machineLogins({
  config: { providers },
  env,
}: Pick<Reading, 'env'> & Pick<Opened, 'config'>): Promise<readonly FoundLogin[]> {
  const logins = await findLogins(machineOf(env), providers);
  return logins
    .filter(({ provider }) => !providers.own.includes(provider))
    .toSorted((a, b) => (a.provider < b.provider ? -1 : 1));
}

export const listLogins = reading({
  id: 'login.find',
  summary: 'List the keys on the machine of Sidekey that can be connected, without their values.',
  scope: 'config:write',
  input: z.strictObject({}),
  output: z.array(foundLogin),
  async run(parts) {
    const logins = await machineLogins(parts);
    return Promise.all(
      logins.map(async ({ provider, place, remove }) => {
        const active = await parts.store?.grants.matching({ provider, state: 'active' }, 1);
        const { title } = findProvider(parts.config.providers, provider);
        return { provider, title, place, remove, connected: (active ?? []).length > 0 };
      }),
    );
  },
  answer: (logins) => logins,
});

export const connectLogin = changing({
  id: 'login.connect',
  summary: 'Store a key of the machine of Sidekey as a grant, after it was verified.',
  scope: 'config:write',
  // The hosts are those of the catalog: another one would get the value.
  input: z.strictObject(addChoices).omit({ audience: true }),
  output: addedGrant,
  async run(parts, wanted, at) {
    assertScopes(['grants:write'], parts.caller);
    const login = (await machineLogins(parts)).find(({ provider }) => provider === wanted.provider);
    if (login === undefined) {
      throw new SidekeyError('not_found', `This machine has no key for ${wanted.provider}.`, {
        hint: 'GET /v2/logins lists those that it has',
      });
    }
    const token = pastedToken(findProvider(parts.config.providers, login.provider));
    return addOne(parts, { ...wanted, credential: readParts(login.input, token) }, at);
  },
  answer: addedAnswer,
});
