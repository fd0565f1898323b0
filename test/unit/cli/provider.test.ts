import { describe, expect, test } from 'vitest';
import { connectCommand, connectCommands } from '../../../src/cli/provider.ts';
import { aProvider } from '../../support/provider.ts';

describe('the command that connects to a provider', () => {
  test('says all that its way needs to know', () => {
    expect(connectCommand('acme', 'device_code')).toBe('sidekey connect acme --device');
    expect(connectCommand('github-app', 'github_installation')).toBe(
      'sidekey connect github-app --app-id ID --installation-id ID --key FILE',
    );
  });

  test('is there for each way, the usual one first and without an option', () => {
    const provider = aProvider({ name: 'acme', flows: ['authorization_code', 'client_credentials'] });
    expect(connectCommands(provider)).toEqual([
      'sidekey connect acme',
      'sidekey connect acme --client-credentials',
    ]);
  });
});
