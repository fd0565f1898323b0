/** What a provider lacks before a consent can be asked for, and the way out. */
import { SidekeyError } from '../../errors.ts';
import type { Provider } from '../../grants/provider.ts';
import { shellWord } from '../../shell-word.ts';
import { connectCommand } from '../provider/words.ts';

/**
 * Refuses where a setting is open: nothing may be sent anywhere then.
 *
 * @throws SidekeyError `input_invalid`
 */
export function assertSettings({ name, title, settings }: Provider): void {
  const open = settings.filter(({ value }) => value === null);
  if (open.length === 0) return;
  const what = open.map((setting) => `${setting.name} (${setting.what})`).join(', ');
  const set = open.map((setting) => `--set ${setting.name}=${shellWord(setting.example)}`).join(' ');
  throw new SidekeyError('input_invalid', `${title} needs to know: ${what}.`, {
    hint: `with your own in the place of the example: sidekey connect ${name} ${set}`,
  });
}

/**
 * Refuses where a consent in a browser cannot be had.
 *
 * @param redirectUri what is to be registered
 * @throws SidekeyError `input_invalid`, `config_invalid`; what reading the client secret throws
 */
export async function assertClient(provider: Provider, redirectUri: string): Promise<void> {
  const { name, title, authorizationEndpoint, tokenEndpoint, clientId } = provider;
  if (authorizationEndpoint === null) {
    throw new SidekeyError('input_invalid', `${title} gives no consent in a browser.`, {
      hint: otherWays(provider) ?? `set providers.${name}.authorization_endpoint, where it has one`,
    });
  }
  if (tokenEndpoint === null) {
    throw new SidekeyError('config_invalid', `Nothing says where the provider ${name} issues tokens.`, {
      hint: `set providers.${name}.token_endpoint`,
    });
  }
  if (clientId === null) throw noClient(provider, redirectUri);
  // Now, and not when the code is there and its time runs.
  await provider.clientSecret?.();
}

function noClient(provider: Provider, redirectUri: string): SidekeyError {
  const { name, title, console, clientAuth } = provider;
  const secret = clientAuth === 'none' ? '' : ` --client-secret env:${variableFor(name)}`;
  const command = `sidekey connect ${name} --client-id ID${secret} --redirect-uri ${redirectUri}${redirectUri.startsWith('https:') ? ' --paste' : ''}`;
  const steps =
    console === null
      ? [`Register a client (an “app”) at ${title}, with the redirect URI ${redirectUri}`]
      : [
          `Open ${console.url}`,
          ...console.steps.map((step) => step.replaceAll('{redirect_uri}', redirectUri)),
        ];
  const lines = steps.map((step, index) => `${index + 1}. ${step}`).join('\n    ');
  const others = otherWays(provider);
  return new SidekeyError(
    'input_invalid',
    `Sidekey is not registered at ${title} yet: providers.${name} has no client_id.`,
    { hint: [lines, command, ...(others === null ? [] : [others])].join('\n  → ') },
  );
}

/** `SLACK_CLIENT_SECRET` */
function variableFor(name: string): string {
  return `${name
    .toUpperCase()
    .replace(/[^A-Z0-9]+/g, '_')
    .replace(/^(?=[0-9])/, '_')}_CLIENT_SECRET`;
}

/** The commands that get a credential without a browser; null: there are none. */
function otherWays({ name, flows, token }: Provider): string | null {
  const others = [
    ...flows.filter((flow) => flow !== 'authorization_code' && flow !== 'auth0_connection'),
    ...(token === null ? [] : (['token'] as const)),
  ];
  if (others.length === 0) return null;
  return others.map((way) => connectCommand(name, way)).join('\n  → ');
}
