/** One scenario that runs with the client in every JavaScript runtime. */
import { type Client, type DeviceSession, SidekeyError } from '../../../../src/sdk/client/client.ts';

/**
 * Returns facts of the story.
 *
 * @param url address of an API that tells the account of its caller
 * @param onCode brings the code to the person
 */
export async function story(client: Client, url: string, onCode: (session: DeviceSession) => void) {
  const { role } = await client.getMe();
  await client.putDomain({ host: new URL(url).host, action: 'grant', grant: 'desk' });
  const connected = await client.connect({ provider: 'desk', user: 'alice', device: true, onCode });
  const answer = await client.request('GET', url, { grant: connected.grantId, reason: 'ticket 7' });
  for (const name of ['a', 'b', 'c']) await client.createAgent({ name });
  const agents: string[] = [];
  for await (const { name } of client.listAgents({ limit: 1 })) agents.push(name);
  const failure = await client.getAgent({ agent: 'd' }).catch((error: unknown) => error);
  let event = '';
  for await (const line of client.streamAuditEvents({ lines: 100 })) {
    if (line.reason !== 'ticket 7') continue;
    event = line.event;
    break;
  }
  const environment = await client.proxyEnv({ base: {}, proxy: 'http://127.0.0.1:8377' });
  return {
    role,
    user: connected.user,
    account: await answer.json(),
    agents,
    failure: failure instanceof SidekeyError && [failure.code, failure.status, failure.hint !== undefined],
    event,
    proxy: environment['HTTPS_PROXY'],
  };
}

export const facts = {
  role: 'operator',
  user: 'alice',
  account: { sub: 'alice' },
  agents: ['a', 'b', 'c'],
  failure: ['not_found', 404, true],
  event: 'access',
  proxy: 'http://127.0.0.1:8377',
};
