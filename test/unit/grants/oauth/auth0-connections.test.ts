import { describe, expect, it } from 'vitest';
import { openCatalog } from '../../../../src/config/catalog.ts';
import { knownConnection } from '../../../../src/grants/oauth/auth0-connection.ts';

describe('the connections of Auth0', async () => {
  const catalog = await openCatalog();

  it.each([
    ['bitbucket', 'bitbucket'],
    ['box', 'box'],
    ['digitalocean', 'digitalocean'],
    ['discord', 'discord'],
    ['dropbox', 'dropbox'],
    ['figma', 'figma'],
    ['github', 'github'],
    ['gmail', 'google-oauth2'],
    ['google', 'google-oauth2'],
    ['google-calendar', 'google-oauth2'],
    ['google-drive', 'google-oauth2'],
    ['huggingface', 'hugging-face'],
    ['microsoft', 'windowslive'],
    ['salesforce', 'salesforce'],
    ['slack', 'sign-in-with-slack'],
    ['spotify', 'spotify'],
    ['twitch', 'twitch'],
    ['x', 'twitter'],
    ['youtube', 'google-oauth2'],
  ])('for %s of the catalog is %s', (name, connection) => {
    const { authorization_endpoint: endpoint } = catalog.get(name)?.definition ?? {};
    expect(knownConnection(endpoint ?? null)?.name).toBe(connection);
  });

  it.each([null, '', 'https://acme.test/authorize', 'https://constructor/', 'https://github.com.evil.test/'])(
    'for %j is unknown',
    (endpoint) => {
      expect(knownConnection(endpoint)).toBeNull();
    },
  );
});
