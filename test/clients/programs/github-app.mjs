// Signs the JWT of an app with a key of its own, as programs with a dummy key do; Sidekey sends the real one.
import { generateKeyPairSync } from 'node:crypto';
import { App, Octokit } from 'octokit';
const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
});
const app = new App({ appId: 1, privateKey, Octokit: Octokit.defaults({ baseUrl: process.argv[2] }) });
const octokit = await app.getInstallationOctokit(1234);
const { token } = await octokit.auth({ type: 'installation' });
const { data } = await octokit.rest.apps.listReposAccessibleToInstallation();
console.log(JSON.stringify({ token, said: data }));
