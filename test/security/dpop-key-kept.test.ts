import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { decodeJwt } from 'jose';
import { describe, expect, test } from 'vitest';
import { proofKey } from '../../src/proxy/schemes/dpop-proof.ts';
import { applyScheme } from '../../src/proxy/schemes/apply.ts';
import { onHeads } from '../support/granted.ts';
import { bound, boundKey, boundTo, startDpopProxy } from '../support/dpop-upstream.ts';
import { openTunnel } from '../support/raw-client.ts';
import { bearerToken } from '../support/sidekey.ts';
import { startRawUpstream, startUpstream } from '../support/upstream.ts';

const pkcs8 = proofKey(boundKey).privateKey.export({ type: 'pkcs8', format: 'der' });
/** The secret number as it might be written. */
const forms = [
  Buffer.from(boundKey.d),
  Buffer.from(boundKey.d, 'base64url'),
  Buffer.from(Buffer.from(boundKey.d, 'base64url').toString('hex')),
  Buffer.from(Buffer.from(boundKey.d, 'base64url').toString('base64')),
  pkcs8,
];
const shows = (bytes: Buffer | string) => forms.some((form) => Buffer.from(bytes).includes(form));

describe('the key of a grant', () => {
  test('appears in no file, log, audit line, argument or plaintext request', async () => {
    const at = await startDpopProxy('HTTP/1.1');
    at.wants.nonce = 'nonce-1';
    await at.ask();
    Object.assign(at.wants, { token: 'another' });
    await at.ask();
    at.wants.isNever = true;
    await at.ask();
    await at.sidekey.audited(({ status }) => status === 401);
    expect(shows(JSON.stringify({ d: boundKey.d }))).toBe(true);
    expect(shows(JSON.stringify(at.seen))).toBe(false);
    expect(shows(at.sidekey.logged())).toBe(false);
    const names = await readdir(at.sidekey.folder, { recursive: true, withFileTypes: true });
    const files = names
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name));
    expect(files.some((file) => file.endsWith('sidekey.db'))).toBe(true);
    for (const file of files) {
      const bytes = await readFile(file);
      expect(shows(bytes), file).toBe(false);
      expect(bytes.includes('eyJ0eXAiOiJkcG9wK2p3dCI'), `${file} has a proof`).toBe(false);
    }
    const { stdout } = await promisify(execFile)('ps', ['-eo', 'args'], { maxBuffer: 1 << 24 });
    expect(shows(stdout)).toBe(false);
  });

  test('is guarded in responses like the token', async () => {
    const upstream = await startUpstream((_request, response) => {
      response.end(`the key is ${boundKey.d}, the token ${bearerToken}`);
    });
    const { sidekey } = await boundTo(upstream, {
      domains: { [upstream.authority]: { grant: 'acme', leak_guard: 'redact' } },
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const { body } = await client.response();
    expect(body).not.toContain(boundKey.d);
    expect(body).not.toContain(bearerToken);
  });

  test('is not shown in the report if it is damaged in the store', async () => {
    const upstream = await startUpstream((_request, response) => response.end('ok'));
    const { sidekey } = await boundTo(upstream);
    const odd = { ...bound, dpop: { key: { ...boundKey, y: 'A'.repeat(43) }, isBound: true } };
    await sidekey.grant([upstream.authority], { name: 'odd', credential: odd });
    await sidekey.configure({
      domains: { [upstream.authority]: { grant: 'odd' } },
    });
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    const { status, body } = await client.response();
    expect(status).toBe(500);
    expect(shows(body) || shows(sidekey.logged())).toBe(false);
  });
});

describe('a DPoP proof', () => {
  const authority = { scheme: 'https', host: 'api.acme.test', port: 443 } as const;
  const facts = { method: 'GET', hasBody: false, bodyHash: null, body: null, now: 0, chunkBytes: 0 };
  const proofTo = (host: string, path = '/') => {
    const sealed = { credential: bound, audience: ['*.acme.test'] };
    const plan = { kind: 'dpop' } as const;
    const { fields } = applyScheme(
      { path, fields: ['Host', host] },
      { sealed, placement: plan, authority: { ...authority, host }, facts },
    );
    return decodeJwt(fields[fields.indexOf('DPoP') + 1] ?? '');
  };

  test('for one host is invalid for another host or path', () => {
    expect(proofTo('a.acme.test')['htu']).toBe('https://a.acme.test/');
    expect(proofTo('b.acme.test', '/x?token=secret')['htu']).toBe('https://b.acme.test/x');
  });

  test('is never repeated', () => {
    const ids = Array.from({ length: 1_000 }, () => proofTo('a.acme.test').jti);
    expect(new Set(ids).size).toBe(1_000);
  });

  test('is not sent beyond the audience or over plain http', () => {
    expect(() => proofTo('acme.evil.test')).toThrow(/Wrong audience/);
    const sealed = { credential: bound, audience: ['api.acme.test'] };
    const plain = { ...authority, scheme: 'http', port: 80 } as const;
    expect(() =>
      applyScheme(
        { path: '/', fields: [] },
        { sealed, placement: { kind: 'dpop' }, authority: plain, facts },
      ),
    ).toThrow(/plain http/);
  });

  test('is sent with a bound token even after a change of the definition', () => {
    const sealed = { credential: bound, audience: ['api.acme.test'] };
    const { fields } = applyScheme(
      { path: '/', fields: ['DPoP', 'of the client', 'dpop', 'another'] },
      { sealed, placement: { kind: 'bearer' }, authority, facts },
    );
    expect(fields.filter((name) => name.toLowerCase() === 'dpop')).toHaveLength(1);
    expect(fields).toContain(`DPoP ${bearerToken}`);
    expect(fields).not.toContain('of the client');
  });

  test('is required: a token that is bound to no key is not sent as a bearer token', () => {
    const { dpop: _key, ...unbound } = bound;
    for (const credential of [unbound, { ...bound, dpop: { key: boundKey, isBound: false } }]) {
      const sealed = { credential, audience: ['api.acme.test'] };
      expect(() =>
        applyScheme({ path: '/', fields: [] }, { sealed, placement: { kind: 'dpop' }, authority, facts }),
      ).toThrow(/bound to no key/);
    }
  });

  test('of the client is removed, and a pasted key is sent without a proof', () => {
    const sealed = {
      credential: { type: 'api_key', value: 'pasted-key' } as const,
      audience: ['api.acme.test'],
    };
    const { fields } = applyScheme(
      { path: '/', fields: ['DPoP', 'of the client'] },
      { sealed, placement: { kind: 'dpop' }, authority, facts },
    );
    expect(fields).toEqual(['Authorization', 'Bearer pasted-key']);
  });
});

describe('an invalid nonce', () => {
  test.each([
    ['has a quote that would end the text', 'a","htu":"https://evil.test'],
    ['has a control character', 'a\tb'],
    ['is of bytes that are not ASCII', 'a\xffb'],
    ['is too long', 'n'.repeat(2_000)],
    ['came twice', 'one\r\nDPoP-Nonce: two'],
    ['is empty', ''],
  ])('that %s is ignored: the 401 is forwarded, and the next proof has no nonce', async (_what, nonce) => {
    const proofs: string[] = [];
    const upstream = await startRawUpstream((socket) => {
      onHeads(socket, (head) => {
        proofs.push(/\r\ndpop: (.*)\r/i.exec(head)?.[1] ?? 'none');
        socket.write(
          Buffer.from(
            `HTTP/1.1 401 No\r\nWWW-Authenticate: DPoP error="use_dpop_nonce"\r\nDPoP-Nonce: ${nonce}\r\nContent-Length: 2\r\n\r\nno`,
            'latin1',
          ),
        );
      });
    });
    const { sidekey } = await boundTo(upstream);
    const client = await openTunnel(sidekey, upstream.authority);
    for (let i = 0; i < 2; i += 1) {
      client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
      expect(await client.response()).toMatchObject({ status: 401, body: 'no' });
    }
    expect(proofs.map((proof) => decodeJwt(proof)['nonce'])).toEqual([undefined, undefined]);
    await sidekey.audited(({ event }) => event === 'outcome');
    expect((await sidekey.audit()).some(({ event }) => event.startsWith('grant.'))).toBe(false);
  });

  test('of 100 kB causes a refusal, and is not stored', async () => {
    const proofs: string[] = [];
    const upstream = await startRawUpstream((socket) => {
      onHeads(socket, (head) => {
        proofs.push(/\r\ndpop: (.*)\r/i.exec(head)?.[1] ?? 'none');
        const nonce = proofs.length === 1 ? `DPoP-Nonce: ${'n'.repeat(100_000)}\r\n` : '';
        socket.write(`HTTP/1.1 200 OK\r\n${nonce}Content-Length: 2\r\n\r\nok`);
      });
    });
    const { sidekey } = await boundTo(upstream);
    const client = await openTunnel(sidekey, upstream.authority);
    client.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect((await client.response()).status).toBe(502);
    const again = await openTunnel(sidekey, upstream.authority);
    again.send(`GET / HTTP/1.1\r\nHost: ${upstream.authority}\r\n\r\n`);
    expect((await again.response()).status).toBe(200);
    expect(decodeJwt(proofs[1] ?? '')).not.toHaveProperty('nonce');
  });
});
