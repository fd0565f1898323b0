/** Uses the client of the API, for the tests of runtimes other than Node.js. Prints one line of JSON. */
import { createClient, SidekeyError } from '../../../src/sdk/client/client.ts';

const sidekey = createClient();
const names: string[] = [];
for await (const { name } of sidekey.listGrants()) names.push(name);
const refused = await sidekey
  .getGrant({ grant: 'nothing' })
  .then(() => 'none')
  .catch((error: unknown) => (error instanceof SidekeyError ? error.code : String(error)));
let streamed = '';
for await (const { event } of sidekey.streamAuditEvents({ event: 'proxy.started', lines: 50 })) {
  streamed = event;
  break;
}
const environment = await sidekey.proxyEnv({ base: {}, proxy: 'http://127.0.0.1:8377' });
console.log(JSON.stringify({ names, refused, streamed, proxy: typeof environment['HTTPS_PROXY'] }));
