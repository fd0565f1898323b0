import { onTestFinished } from 'vitest';
import { defaultLimits } from '../../src/proxy/policy/limits.ts';
import { createUpstreamClient, type UpstreamClient } from '../../src/proxy/upstream/client.ts';
import { upstreamCa, upstreamHost } from './upstream.ts';

/** The fetch function for outgoing requests to the upstreams of this test; closed when the test ends. */
export function testUpstreamClient(hosts: readonly string[] = [upstreamHost]): UpstreamClient {
  const client = createUpstreamClient({
    ca: [upstreamCa],
    resolve: new Map(hosts.map((host) => [host, '127.0.0.1'])),
    privateAddresses: ['127.0.0.1/32'],
    limits: defaultLimits,
    ownPorts: () => [],
  });
  onTestFinished(() => client.close());
  return client;
}
