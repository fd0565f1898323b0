import { describe, expect, test } from 'vitest';
import { connectRemedy, connectCommands } from '../../../src/operations/provider.ts';
import { aProvider } from '../../support/provider.ts';
import { hintText } from '../../../src/lib/hint.ts';

describe('the connect command of a provider', () => {
  test('has the options that its flow requires', () => {
    expect(hintText(connectRemedy('acme', 'device_code'))).toBe('sidekey connect acme --device');
    expect(hintText(connectRemedy('github-app', 'github_installation'))).toBe(
      'sidekey connect github-app --app-id ID --installation-id ID --key FILE',
    );
  });

  test('exists for each flow, the default flow first and without an option', () => {
    const provider = aProvider({ name: 'acme', flows: ['authorization_code', 'client_credentials'] });
    expect(connectCommands(provider)).toEqual([
      'sidekey connect acme',
      'sidekey connect acme --client-credentials',
    ]);
  });
});
