import { credentials } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { testGrpcBehaviour, type GrpcPair } from '../../support/grpc-behaviour.ts';
import { ask, startWords, wordsClient } from '../../support/grpc.ts';
import { bearerToken, startSidekey, type TestSidekey } from '../../support/sidekey.ts';
import { upstreamHost, upstreamLeaf } from '../../support/upstream.ts';

/**
 * A gRPC client behind the proxy, as its `https_proxy` would have it, and a server that wants a credential.
 */
async function throughProxy(): Promise<
  GrpcPair & { readonly sidekey: TestSidekey; readonly authority: string }
> {
  const server = await startWords(upstreamLeaf(upstreamHost));
  const authority = `${upstreamHost}:${server.port}`;
  const sidekey = await startSidekey({ domains: { [authority]: { grant: 'acme' } } });
  await sidekey.grant([authority]);
  const client = wordsClient(`127.0.0.1:${sidekey.port}`, credentials.createSsl(Buffer.from(sidekey.caPem)), {
    'grpc.http_connect_target': `dns:${authority}`,
    'grpc.default_authority': authority,
    'grpc.ssl_target_name_override': upstreamHost,
  });
  return { server, client, sidekey, authority };
}

describe('the proxy', () => {
  testGrpcBehaviour(throughProxy);

  it('adds the credential to a gRPC call, and records the call in the audit log', async () => {
    const { client, server, sidekey, authority } = await throughProxy();
    await ask(client, 'Shout', 'hello').answer;
    expect(server.calls[0]!.get('authorization')).toEqual([`Bearer ${bearerToken}`]);
    const line = await sidekey.audited(({ event }) => event === 'access');
    expect(line).toMatchObject({ method: 'POST', path: '/test.Words/Shout' });
    expect(JSON.stringify(line)).toContain(authority.split(':')[0]);
  });
});
