import { describe, expect, it, vi } from 'vitest';
import { http1, type Protocol, type NegotiatedProtocol } from '../../../../src/proxy/upstream/h2-session.ts';
import { company, http2Upstream, createUpstreams } from '../../../support/http2-upstream.ts';
import { turn } from '../fake-upstream.ts';
import { dialerForTest } from './upstream-for-test.ts';

const h2: NegotiatedProtocol = { protocol: 'h2', extendedConnect: false };

/** Answers in the protocol that it chooses, and says which that was. */
async function bilingual(chooses: Protocol = 'h2') {
  const spoken: string[] = [];
  const state = { chooses };
  const ALPNCallback = ({ protocols }: { readonly protocols: readonly string[] }) =>
    protocols.includes(state.chooses) ? state.chooses : protocols[0];
  const upstream = await http2Upstream(() => {}, { allowHTTP1: true, ALPNCallback });
  upstream.server.on('request', (request, response) => {
    spoken.push(request.httpVersion);
    response.end('ok');
  });
  return { ...upstream, spoken, state };
}

describe('the protocol of an upstream', () => {
  it('is negotiated on a connection that is then used', async () => {
    const upstream = await bilingual();
    const { protocols, carry } = createUpstreams();
    expect(await protocols.of(upstream.authority)).toEqual(h2);
    await carry(upstream.authority).carried;
    expect([upstream.spoken, upstream.accepted()]).toEqual([['2.0'], 1]);
  });

  it('is negotiated once for concurrent callers, and then known without a promise', async () => {
    const upstream = await bilingual();
    const { protocols } = createUpstreams();
    const asked = [protocols.of(upstream.authority), protocols.of(upstream.authority)];
    for (const answer of asked) expect(await answer).toEqual(h2);
    expect(protocols.of(upstream.authority)).toEqual(h2);
    expect(upstream.accepted()).toBe(1);
  });

  it('is negotiated again after ten minutes', async () => {
    const upstream = await bilingual();
    const { protocols, clock } = createUpstreams();
    await protocols.of(upstream.authority);
    clock.advance(599_999);
    expect(protocols.of(upstream.authority)).toEqual(h2);
    clock.advance(1);
    expect(await protocols.of(upstream.authority)).toEqual(h2);
    expect(upstream.accepted()).toBe(2);
  });

  it.each([true, false])(
    'includes whether the upstream accepts WebSockets over HTTP/2: %s',
    async (enableConnectProtocol) => {
      const upstream = await http2Upstream(() => {}, { settings: { enableConnectProtocol } });
      const { protocols } = createUpstreams();
      const spoken = { protocol: 'h2', extendedConnect: enableConnectProtocol };
      expect(await protocols.of(upstream.authority)).toEqual(spoken);
      expect(protocols.of(upstream.authority)).toEqual(spoken);
    },
  );

  it('is HTTP/1.1 without TLS, without a connection', () => {
    const { protocols } = createUpstreams();
    expect(protocols.of({ scheme: 'http', host: 'api.example', port: 9 })).toEqual(http1);
  });

  it('is HTTP/1.1 if the upstream negotiates nothing else', async () => {
    const upstream = await bilingual('http/1.1');
    const { protocols } = createUpstreams();
    expect(await protocols.of(upstream.authority)).toEqual(http1);
    expect(protocols.of(upstream.authority)).toEqual(http1);
  });

  it('is HTTP/1.1 after a failed connection, and this result is not cached', async () => {
    const upstream = await bilingual();
    const dialer = dialerForTest({ pinned: { 'api.example': '127.0.0.1' }, ca: company.cert });
    const connect = vi.fn(dialer.connect.bind(dialer));
    connect.mockRejectedValueOnce(new Error('no way'));
    const { protocols } = createUpstreams({}, { ...dialer, connect });
    expect(await protocols.of(upstream.authority)).toEqual(http1);
    expect(await protocols.of(upstream.authority)).toEqual(h2);
  });

  it('is not negotiated for an HTTP/1.1 client', async () => {
    const upstream = await bilingual();
    const { carry, known } = createUpstreams();
    await carry(upstream.authority, { protocol: 'http/1.1' }).carried;
    expect([upstream.spoken, known.get(upstream.authority)]).toEqual([['1.1'], undefined]);
  });

  it('changes from HTTP/2 to HTTP/1.1 when the upstream does', async () => {
    const upstream = await bilingual();
    const { carry, protocols } = createUpstreams({ upstream_keep_alive: 0 });
    await carry(upstream.authority).carried;
    while (!upstream.sessions[0]!.destroyed) await turn();
    upstream.state.chooses = 'http/1.1';
    const changed = await carry(upstream.authority, { method: 'POST' }).carried;
    expect(changed).toMatchObject({ status: 200, outcome: 'complete' });
    expect(upstream.spoken).toEqual(['2.0', '1.1']);
    expect(protocols.of(upstream.authority)).toEqual(http1);
  });
});
