import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { defaultLimits } from '../../src/policy/limits.ts';
import { createExit, type Exit } from '../../src/upstream/client.ts';
import { tempFolder } from './temp-folder.ts';
import { upstreamCa, upstreamHost } from './upstream.ts';

/** The one way out, to the upstreams of this test; closed when the test ends. */
export async function exitToUpstreams(): Promise<Exit> {
  const ca = join(await tempFolder(), 'upstream-ca.pem');
  await writeFile(ca, upstreamCa);
  const exit = createExit({
    ca: [ca],
    resolve: new Map([[upstreamHost, '127.0.0.1']]),
    privateAddresses: ['127.0.0.1/32'],
    limits: defaultLimits,
    ownPorts: () => [],
  });
  onTestFinished(() => exit.close());
  return exit;
}
