import { readFileSync } from 'node:fs';
import { describe, expect, test, vi } from 'vitest';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { granted } from '../../support/granted.ts';
import { openTunnel, problemOf } from '../../support/raw-client.ts';
import { startSidekey, type TestSidekey } from '../../support/sidekey.ts';
import { startUpstream } from '../../support/upstream.ts';

/** Root may write wherever it likes: the log fails as it would on a full disk, once. */
function fillDisk(sidekey: TestSidekey, how: 'append' | 'write'): void {
  const full = new SidekeyError('audit_unavailable', 'The disk is full.', { hint: 'free space' });
  vi.spyOn(sidekey.proxy.state.audit, how).mockRejectedValueOnce(full);
}

describe('the audit log of a proxy', () => {
  test('has the access record on disk before the upstream gets the request, and the outcome after the response', async () => {
    let atUpstream = '';
    let file = '';
    const { upstream, sidekey } = await granted((request, response) => {
      atUpstream = readFileSync(file, 'utf8');
      request.resume().on('end', () => response.writeHead(201).end('created'));
    });
    file = sidekey.proxy.config().audit.file;
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(
      `POST /things?secret=1 HTTP/1.1\r\nHost: ${upstream.authority}\r\nSidekey-Reason: a test\r\nContent-Length: 3\r\n\r\nabc`,
    );
    expect(await client.response()).toMatchObject({ status: 201 });
    const seen = atUpstream
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .find(({ event }) => event === 'access');
    expect(seen).toMatchObject({
      method: 'POST',
      host: 'api.acme.test',
      port: upstream.port,
      path: '/things',
      provider: 'acme',
      user: 'default',
      reason: 'a test',
      credential: expect.any(String),
    });
    const outcome = await sidekey.audited((line) => line.event === 'outcome');
    expect(outcome).toMatchObject({
      exchange: seen?.['exchange'],
      outcome: 'ok',
      status: 201,
      bytes_in: 3,
      bytes_out: 7,
      duration_ms: expect.any(Number),
    });
  });

  test('causes requests to be refused if it cannot be written', async () => {
    let asked = 0;
    const { upstream, sidekey } = await granted((_request, response) => response.end(String((asked += 1))));
    const client = await openTunnel(sidekey, upstream.authority);
    fillDisk(sidekey, 'write');
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const answer = await client.response();
    expect(answer).toMatchObject({ status: 503, reason: 'audit_unavailable' });
    expect(problemOf(answer).hint).toEqual(expect.any(String));
    expect(asked).toBe(0);
  });

  test('causes requests to be refused if the credential of a second grant cannot be recorded', async () => {
    let asked = 0;
    const upstream = await startUpstream((_request, response) => response.end(String((asked += 1))));
    const also = [{ grant: 'app', as: { header: 'X-Api-Key' } }];
    const sidekey = await startSidekey({ domains: { [upstream.authority]: { grant: 'acme', also } } });
    await sidekey.grant([upstream.authority]);
    await sidekey.grant([upstream.authority], { name: 'app' });
    const client = await openTunnel(sidekey, upstream.authority);
    fillDisk(sidekey, 'write');
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect(await client.response()).toMatchObject({ status: 503, reason: 'audit_unavailable' });
    expect(asked).toBe(0);
  });

  test('causes blind tunnels to be refused if it cannot be written', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const sidekey = await startSidekey({ domains: { [upstream.authority]: 'tunnel' } });
    fillDisk(sidekey, 'append');
    await expect(openTunnel(sidekey, upstream.authority)).rejects.toThrow('503 audit_unavailable');
    expect(upstream.connections()).toBe(0);
  });
});
