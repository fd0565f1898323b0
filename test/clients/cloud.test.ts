/** SDKs of clouds that ask Sidekey for an identity of the machine, and get placeholders. */
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { python } from '../support/aws/python.ts';
import { startUpstream } from '../support/upstream.ts';
import { createSecret } from './support/secret.ts';
import { missing, openStage, packageMissing, withPackages } from './support/stage.ts';

/** A program that prints the value of a secret twice. */
interface Sdk {
  readonly name: string;
  readonly provider: 'google' | 'azure';
  readonly missing: string | false;
  readonly script: string;
}

const sdks: readonly Sdk[] = [
  {
    name: 'google-auth',
    provider: 'google',
    missing: missing(python, '-c', 'import google.auth, requests'),
    script: `
import sys, google.auth
from google.auth.transport.requests import AuthorizedSession
credentials, project = google.auth.default()
assert project is None
for _ in range(2):
    print(AuthorizedSession(credentials).get(sys.argv[1] + "/secrets/one").json()["value"])
`,
  },
  {
    name: 'google-auth-library',
    provider: 'google',
    missing: packageMissing('google-auth-library'),
    script: `
import { GoogleAuth } from 'google-auth-library';
const auth = new GoogleAuth({ scopes: 'https://www.googleapis.com/auth/cloud-platform' });
for (const _ of [1, 2]) console.log((await auth.request({ url: process.argv[2] + '/secrets/one' })).data.value);
`,
  },
  {
    name: 'azure-identity with azure-keyvault-secrets',
    provider: 'azure',
    missing: missing(python, '-c', 'import azure.identity, azure.keyvault.secrets'),
    script: `
import sys
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
credential = DefaultAzureCredential()
client = SecretClient(sys.argv[1], credential, verify_challenge_resource=False)
for _ in range(2):
    print(client.get_secret("one").value)
assert credential.get_token("https://vault.azure.net/.default").token.count(".") == 2
`,
  },
  {
    name: '@azure/identity',
    provider: 'azure',
    missing: packageMissing('@azure/identity'),
    script: `
import { DefaultAzureCredential } from '@azure/identity';
const { token } = await new DefaultAzureCredential().getToken('https://vault.azure.net/.default');
for (const _ of [1, 2]) {
  const answer = await fetch(process.argv[2] + '/secrets/one', { headers: { Authorization: 'Bearer ' + token } });
  console.log((await answer.json()).value);
}
`,
  },
];

for (const sdk of sdks) {
  const why = sdk.missing;
  test.skipIf(why !== false)(
    `${sdk.name} gets a placeholder, and calls the API with it${why === false ? '' : ` (${why})`}`,
    { timeout: 120_000 },
    async () => {
      const secret = createSecret();
      const seen: string[] = [];
      const upstream = await startUpstream((request, response) => {
        const { authorization } = request.headers;
        request.resume();
        const isAllowed = authorization === `Bearer ${secret.token}`;
        seen.push(`${isAllowed ? '' : 'refused '}${request.method} ${request.url?.split('?', 1)[0]}`);
        if (!isAllowed) return void response.writeHead(401).end();
        void secret.hold().then(() => {
          const value = JSON.stringify({ value: 'hello', id: 'https://x.vault.azure.net/secrets/one/2' });
          response.writeHead(200, { 'Content-Type': 'application/json' }).end(value);
        });
      });
      const at = await openStage(secret, {
        domains: { [upstream.authority]: { grant: 'client-test' } },
        provider: sdk.provider,
        audience: upstream.authority,
      });
      const isPython = sdk.script.includes('import sys');
      const file = isPython ? join(at.room, 'ask.py') : join(at.room, 'ask.mjs');
      await writeFile(file, isPython ? sdk.script : withPackages(sdk.script));
      const ran = await at.perform([isPython ? python : process.execPath, file, upstream.url], {
        flags: ['--show', dirname(dirname(python))],
      });
      expect(ran).toMatchObject({ exit: 0, stdout: 'hello\nhello\n' });
      expect(new Set(seen.map((each) => each.replace(/\/$/, '')))).toEqual(new Set(['GET /secrets/one']));
    },
  );
}
