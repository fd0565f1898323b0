import { z } from 'zod';
import { type ConfigParts, configuredProvider } from './connect/provider-settings.ts';
import { discoverProvider } from './connect/define-provider.ts';
import { name, text } from './members.ts';
import { type Changing, changing } from './operation.ts';
import { providerAnswer, providerShape } from './provider.ts';

/** Changes of the providers in the config file. No secret is among them. */

function configParts(parts: Changing): ConfigParts {
  const { config, env } = parts;
  return { config: async () => config, env, withState: (use) => use(parts), output: { say() {} } };
}

export const changeProvider = changing({
  id: 'provider.change',
  summary: 'Set what a provider needs to know, such as the subdomain of an account.',
  scope: 'config:write',
  input: z.strictObject({ provider: text, settings: z.record(z.string(), text) }),
  output: providerShape,
  async run(parts, { provider, settings }) {
    const set = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
    return configuredProvider(configParts(parts), provider, { set });
  },
  answer: providerAnswer,
});

export const defineProvider = changing({
  id: 'provider.define',
  summary: 'Find the sign-in of an API or MCP server by its address, and register a client without a secret.',
  scope: 'config:write',
  input: z.strictObject({ address: text, name: name.optional() }),
  output: providerShape,
  async run(parts, { address, name: wanted }) {
    const { pages, withFetch, now } = parts;
    const options = {
      ...(wanted === undefined ? {} : { name: wanted }),
      ...(pages === null ? {} : { redirectUri: `${pages}/connect/callback` }),
    };
    const discovery = { ...configParts(parts), withFetch, now, isPublic: true };
    return (await discoverProvider(discovery, address, options)).provider;
  },
  answer: providerAnswer,
});
