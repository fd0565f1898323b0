import type { Way } from './choose-way.ts';
import type { Obtain } from './flow.ts';

/** The ways besides a consent in a browser, each imported when it is gone. */
const ways: { readonly [way in Exclude<Way, 'authorization_code'>]: () => Promise<Obtain> } = {
  device_code: async () => (await import('./device.ts')).obtainByDevice,
  client_credentials: async () => (await import('./client-credentials.ts')).obtainByClientCredentials,
  jwt_bearer: async () => (await import('./jwt-bearer.ts')).obtainByJwtBearer,
  token_exchange: async () => (await import('./token-exchange.ts')).obtainByTokenExchange,
  auth0_connection: async () => (await import('./auth0.ts')).obtainViaAuth0,
  github_installation: async () => (await import('./github-installation.ts')).obtainByGithubInstallation,
  aws_role: async () => (await import('./aws-role.ts')).obtainByAwsRole,
  token: async () => (await import('./token.ts')).pasteToken,
  import: async () => (await import('./import.ts')).importToken,
};

/** The way, ready to be gone. */
export function obtainBy(way: keyof typeof ways): Promise<Obtain> {
  return ways[way]();
}
