import { describe, expect, it } from 'vitest';
import { parsePostgresUrl, postgresLocation } from '../../../src/lib/postgres.ts';

function parsed(url: string) {
  const address = parsePostgresUrl(url);
  if ('problem' in address) throw new Error(address.problem);
  return address;
}

describe('a URL of several servers', () => {
  it('has the first server and the other servers, each with its port, and verified TLS', () => {
    const address = parsed('postgres://me@a.example.com:6432,b.example.com,[2001:db8::1]:7000/sidekey');
    expect(address).toEqual({
      user: 'me',
      host: 'a.example.com',
      port: 6_432,
      others: [
        { host: 'b.example.com', port: 5_432 },
        { host: '2001:db8::1', port: 7_000 },
      ],
      database: 'sidekey',
      tls: true,
      rootCertificate: null,
    });
    expect(postgresLocation(address)).toBe(
      'postgres://me@a.example.com:6432,b.example.com:5432,[2001:db8::1]:7000/sidekey',
    );
  });

  it('has no TLS only when all servers are on this machine', () => {
    expect(parsed('postgres://me@localhost:1,127.0.0.1:2/db').tls).toBe(false);
    expect(parsed('postgres://me@localhost,b.example.com/db').tls).toBe(true);
    expect(parsed('postgres://me@b.example.com,localhost/db').tls).toBe(true);
    expect(parsePostgresUrl('postgres://me@localhost,b.example.com/db?sslmode=disable')).toMatchObject({
      problem: expect.stringContaining('turns TLS off for another machine'),
    });
  });

  it.each(['read-write', 'primary'])('may have target_session_attrs=%s, which is the default', (value) => {
    const address = parsed(`postgres://me@a,b/db?target_session_attrs=${value}`);
    expect(address.others).toHaveLength(1);
  });

  it.each(['any', 'read-only', 'standby', 'prefer-standby'])(
    'is refused with target_session_attrs=%s',
    (value) => {
      expect(parsePostgresUrl(`postgres://me@a,b/db?target_session_attrs=${value}`)).toEqual({
        problem: `has target_session_attrs=${value}; the store is always on the server that takes writes`,
      });
    },
  );

  it.each([
    'postgres://me@a,/db',
    'postgres://me@,a/db',
    'postgres://me@a,b:x/db',
    'postgres://a,b/db',
    'postgres://me@a,b/',
    'postgres://me@a b,c/db',
  ])('%s is refused', (url) => {
    expect(parsePostgresUrl(url)).toEqual({ problem: 'must be postgres://USER@HOST/DATABASE' });
  });

  it('is refused with a password, which is not repeated', () => {
    const { problem } = parsePostgresUrl('postgres://me:hunter2@a,b/db') as { problem: string };
    expect(problem).toContain('has a password in it');
    expect(problem).not.toContain('hunter2');
  });

  it('is refused when it also names the folder of a socket', () => {
    expect(parsePostgresUrl('postgres://me@a,b/db?host=/run/postgresql')).toMatchObject({
      problem: expect.stringContaining('a host beside it'),
    });
  });
});

describe('a URL of a Unix socket', () => {
  it.each([
    ['postgres://me@/db?host=/run/postgresql', 5_432],
    ['postgres://me@:6432/db?host=/run/postgresql', 6_432],
  ])('%s has no host, and no TLS', (url, port) => {
    const address = parsed(url);
    expect(address).toMatchObject({ user: 'me', host: '/run/postgresql', port, database: 'db', tls: false });
    expect(postgresLocation(address)).toBe('postgres://me@/db?host=/run/postgresql');
  });

  it.each(['postgres://me@/db', 'postgres:///db', 'postgres://me@/db?host=run'])(
    '%s is refused as a socket URL',
    (url) => {
      expect(parsePostgresUrl(url)).toHaveProperty('problem');
    },
  );
});
