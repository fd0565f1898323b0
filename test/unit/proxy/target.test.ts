import { describe, expect, it } from 'vitest';
import { connectTargetOf, targetOf } from '../../../src/proxy/target.ts';
import type { InterceptedTunnel } from '../../../src/proxy/http/message.ts';
import type { RequestHead } from '../../../src/proxy/http/head.ts';
import { authorityOf } from './policy/policy-for-test.ts';

const head = (target: string, host: string | null, version: RequestHead['version'] = '1.1'): RequestHead => ({
  method: 'GET',
  target,
  version,
  fields: host === null ? [] : ['Host', host],
});
const tunnelTo = (text: string, serverName: string | null = null): InterceptedTunnel => ({
  authority: authorityOf(text),
  serverName,
  presented: { kind: 'nothing' },
});

describe('the target of a request outside CONNECT', () => {
  it('is its absolute URI', () => {
    expect(targetOf(head('http://api.example/a?b', 'api.example'), null)).toEqual({
      authority: authorityOf('api.example', 'http'),
      path: '/a?b',
    });
    expect(targetOf(head('https://api.example:8443', 'api.example:8443'), null)).toEqual({
      authority: authorityOf('api.example:8443'),
      path: '/',
    });
  });

  it.each(['/a', '*', 'api.example:443', 'ftp://api.example/', 'http://api.example/#x'])(
    'is refused: %s',
    (target) => {
      expect(targetOf(head(target, 'api.example'), null)).toMatchObject({
        code: 'bad_request',
        hint: 'use CONNECT, or a target such as https://host/path',
      });
    },
  );
});

describe('the target of a request inside CONNECT', () => {
  it('is the tunnel’s authority and the path as it was written', () => {
    const path = '/a/../%2e%2e//b;x?c=%20|{}';
    expect(targetOf(head(path, 'api.example'), tunnelTo('api.example', 'api.example'))).toEqual({
      authority: authorityOf('api.example'),
      path,
    });
  });

  it('may be in absolute form with the same authority', () => {
    expect(targetOf(head('https://API.example:443/a', 'api.example'), tunnelTo('api.example'))).toEqual({
      authority: authorityOf('api.example'),
      path: '/a',
    });
    expect(targetOf(head('http://api.example:443/a', 'api.example'), tunnelTo('api.example'))).toMatchObject({
      code: 'authority_mismatch',
    });
  });

  it.each(['/a b', '/a\tb', '/a\0b', '/a\r\nX: y', '/a\x7f', '/a#fragment', '*', 'a', ''])(
    'is not %j',
    (target) => {
      expect(targetOf(head(target, 'api.example'), tunnelTo('api.example'))).toMatchObject({
        code: 'bad_request',
      });
    },
  );
});

const plain = (port: number): InterceptedTunnel => ({
  ...tunnelTo('api.example'),
  authority: { scheme: 'http', host: 'api.example', port },
});

describe('Host', () => {
  it.each([
    ['api.example', 'api.example'],
    ['api.example', 'API.Example.'],
    ['api.example', 'api.example:443'],
    ['api.example:8443', 'api.example:8443'],
    ['[2001:db8::1]', '[2001:DB8:0::1]'],
    ['bücher.example', 'xn--bcher-kva.example'],
  ])('for a tunnel to %s may be %s', (tunnel, host) => {
    expect(targetOf(head('/', host), tunnelTo(tunnel))).toMatchObject({ path: '/' });
  });

  it('is required in HTTP/1.1, and not in HTTP/1.0', () => {
    expect(targetOf(head('/', null), tunnelTo('api.example'))).toMatchObject({
      code: 'bad_request',
      message: 'The request has no Host field.',
    });
    expect(targetOf(head('/', null, '1.0'), tunnelTo('api.example'))).toMatchObject({ path: '/' });
  });

  it('without a port means port 80 for plain HTTP in a tunnel', () => {
    expect(targetOf(head('/', 'api.example'), plain(80))).toMatchObject({ path: '/' });
    expect(targetOf(head('/', 'api.example'), plain(8080))).toMatchObject({ code: 'authority_mismatch' });
    expect(targetOf(head('/', 'api.example:8080'), plain(8080))).toMatchObject({ path: '/' });
  });
});

const connectTo = (target: string, ...hosts: string[]) =>
  connectTargetOf({
    method: 'CONNECT',
    target,
    version: '1.1',
    fields: hosts.flatMap((host) => ['Host', host]),
  });

describe('the authority of a CONNECT', () => {
  it.each([
    ['api.example:8443', []],
    ['api.example:8443', ['api.example:8443']],
    ['api.example:8443', ['API.example.']],
    ['api.example:443', ['api.example']],
    ['[2001:db8::1]:443', ['[2001:db8::1]']],
    // ffmpeg and proxytunnel name the proxy. The target is the request target (RFC 9112 §3.2.3).
    ['api.example:443', ['127.0.0.1:8377']],
    ['api.example:443', ['api.example:8443']],
    ['api.example:443', ['x@api.example']],
    ['api.example:443', ['']],
  ])('is %s with the Host %j', (target, hosts) => {
    expect(connectTo(target, ...hosts)).toMatchObject({
      host: target.slice(0, target.lastIndexOf(':')),
      port: Number(target.slice(target.lastIndexOf(':') + 1)),
    });
  });

  it('is refused with two Host fields, without a port, and in another version', () => {
    expect(connectTo('api.example:443', 'api.example', 'api.example')).toMatchObject({ code: 'bad_request' });
    expect(connectTo('api.example')).toMatchObject({ code: 'bad_request' });
    const head = { method: 'CONNECT', target: 'api.example:443', version: 'other', fields: [] } as const;
    expect(connectTargetOf(head)).toMatchObject({ code: 'bad_request' });
  });
});
