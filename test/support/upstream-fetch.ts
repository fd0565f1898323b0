import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { defaultLimits } from '../../src/proxy/policy/limits.ts';
import { createUpstreamClient, type UpstreamClient } from '../../src/proxy/upstream/client.ts';
import { tempFolder } from './temp-folder.ts';
import { upstreamCa, upstreamHost } from './upstream.ts';

/** The fetch function for outgoing requests to the upstreams of this test; closed when the test ends. */
export async function testUpstreamClient(hosts: readonly string[] = [upstreamHost]): Promise<UpstreamClient> {
  const ca = join(await tempFolder(), 'upstream-ca.pem');
  await writeFile(ca, upstreamCa);
  const client = createUpstreamClient({
    ca: [ca],
    resolve: new Map(hosts.map((host) => [host, '127.0.0.1'])),
    privateAddresses: ['127.0.0.1/32'],
    limits: defaultLimits,
    ownPorts: () => [],
  });
  onTestFinished(() => client.close());
  return client;
}
