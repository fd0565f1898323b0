import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../support/free-port.ts';
import { isInstalled, startProgram } from '../../bench/process.ts';
import { certificateOf, clients, refusalBy, sidekeyOfBank } from '../../support/certificate-grants.ts';
import { makeTestAuthority } from '../../support/certificates.ts';
import { proxiedGet } from '../../support/proxied-get.ts';
import { ask, openSession } from '../../support/h2-client.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { upstreamHost, upstreamLeaf } from '../../support/upstream.ts';

/** Servers that are not ours say what a grant's certificate is worth. */

const openssl = isInstalled('openssl') ? null : 'openssl is not installed';
const nginx = isInstalled('nginx') ? null : 'nginx is not installed';
const because = (missing: string | null) => (missing === null ? '' : ` (${missing})`);

/** A folder with what a server needs, and a proxy with a grant for it. */
async function beside(certificate: ReturnType<typeof certificateOf>) {
  const folder = await tempFolder();
  const port = await freePort();
  const { cert, key } = upstreamLeaf(upstreamHost);
  await writeFile(join(folder, 'server.crt'), cert);
  await writeFile(join(folder, 'server.key'), key);
  await writeFile(join(folder, 'clients.crt'), clients.cert);
  const authority = `${upstreamHost}:${port}`;
  // Who waits for an alert until the time is up does not pass.
  const config = { limits: { upstream_connect: '5m', upstream_head: '5m' } };
  const sidekey = await sidekeyOfBank([authority], { config });
  const options = { name: 'bank', provider: 'bank', credential: certificate };
  await sidekey.grant([authority], options);
  return { folder, port, authority, sidekey };
}

async function behindOpenssl(version: string, certificate: ReturnType<typeof certificateOf>) {
  const at = await beside(certificate);
  const { folder, port } = at;
  const file = (name: string) => join(folder, name);
  const running = await startProgram(
    'openssl',
    [
      ['s_server', '-accept', `127.0.0.1:${port}`, '-www', '-quiet', version, '-alpn', 'h2,http/1.1'],
      ['-cert', file('server.crt'), '-key', file('server.key'), '-CAfile', file('clients.crt')],
      ['-Verify', '2', '-verify_return_error'],
    ].flat(),
    port,
  );
  onTestFinished(() => running.stop());
  return at;
}

async function behindNginx(certificate: ReturnType<typeof certificateOf>, more = '') {
  const at = await beside(certificate);
  const { folder, port } = at;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${folder}/temp-${kind};`)
    .join('\n  ');
  await writeFile(
    join(folder, 'nginx.conf'),
    `daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${folder}/nginx.log;
events {}
http {
  access_log off;
  ${temporary}
  server {
    server_name ${upstreamHost};
    listen 127.0.0.1:${port} ssl http2;

    ssl_certificate ${folder}/server.crt;
    ssl_certificate_key ${folder}/server.key;
    ssl_client_certificate ${folder}/clients.crt;
    ssl_verify_client on;
    ${more}
    default_type text/plain;
    return 200 "$ssl_client_verify $ssl_client_serial $connection $ssl_session_reused $server_protocol";
  }
}
`,
  );
  const running = await startProgram(
    'nginx',
    ['-p', folder, '-e', join(folder, 'nginx.log'), '-c', join(folder, 'nginx.conf')],
    port,
  );
  onTestFinished(() => running.stop());
  return at;
}

/** Alerts come from OpenSSL alone: a server in Node lets every certificate in, and looks at it then. */
describe.skipIf(openssl !== null)(`openssl s_server${because(openssl)}`, () => {
  const day = 86_400_000;
  const over = ['HTTP/1.1', 'HTTP/2', 'WebSocket'].flatMap((how) =>
    ['-tls1_2', '-tls1_3'].map((version) => [how, version] as const),
  );

  test.each(over)('reports an unknown issuer, over %s and %s', async (how, version) => {
    const stranger = certificateOf('agents', { from: makeTestAuthority('Somebody else') });
    const { sidekey, authority } = await behindOpenssl(version, stranger);
    expect(await refusalBy(how, sidekey, authority)).toMatchObject({
      status: 502,
      code: 'upstream_tls',
      detail: expect.stringMatching(
        /^api\.acme\.test:\d+ did not take the client certificate of the grant: it does not know who issued it \(ERR_SSL_\w*UNKNOWN_CA\)\.$/,
      ) as string,
      hint: expect.stringContaining('sidekey grant show GRANT') as string,
    });
  });

  test.each(['-tls1_2', '-tls1_3'])(
    'reports an expired certificate by its clock, over %s',
    async (version) => {
      const now = Date.now();
      const ended = certificateOf('agents', { validity: { notBefore: now - 2 * day, notAfter: now - day } });
      // Ours does not know.
      const { sidekey, authority } = await behindOpenssl(version, { ...ended, expiresAt: now + day });
      expect(await refusalBy('HTTP/1.1', sidekey, authority)).toMatchObject({
        code: 'upstream_tls',
        detail: expect.stringContaining('it has expired, or the clocks differ') as string,
      });
    },
  );
});

describe.skipIf(nginx !== null)(`nginx with ssl_verify_client${because(nginx)}`, () => {
  test.each(['TLSv1.2', 'TLSv1.3'])(
    'accepts the certificate of the grant and identifies its subject, with %s',
    async (tls) => {
      const { sidekey, authority } = await behindNginx(certificateOf('agents'), `ssl_protocols ${tls};`);
      const one = await proxiedGet(sidekey.url, `https://${authority}/`);
      const two = await proxiedGet(sidekey.url, `https://${authority}/`);
      expect(one).toEqual({
        status: 200,
        body: expect.stringMatching(/^SUCCESS 01[0-9A-F]+ \d+ \. HTTP\/1\.1$/) as string,
      });
      expect(two).toEqual(one);
      const session = await openSession(sidekey, authority);
      expect((await ask(session)).body).toMatch(/^SUCCESS 01[0-9A-F]+ \d+ [.r] HTTP\/2\.0$/);
    },
  );

  test.each(['TLSv1.2', 'TLSv1.3'])(
    'distinguishes two grants, even when it resumes sessions, with %s',
    async (tls) => {
      const at = await behindNginx(certificateOf('ann'), `ssl_protocols ${tls}; keepalive_timeout 0;`);
      const { sidekey, authority } = at;
      await sidekey.grant([authority], {
        name: 'other',
        provider: 'bank',
        credential: certificateOf('bob'),
      });
      await sidekey.configure({
        domains: { [authority]: { grant: 'bank' } },
        providers: { bank: { audience: [authority], inject: 'client_certificate' } },
      });
      const as = async (grant: string) => {
        const answer = await proxiedGet(sidekey.url, `https://${authority}/`, { 'Sidekey-Grant': grant });
        const [verified, serial, , reused] = (answer as { body: string }).body.split(' ');
        return { verified, serial, reused };
      };
      const seen = [];
      for (const grant of ['bank', 'other', 'bank', 'other', 'bank', 'other']) seen.push(await as(grant));
      const [ann, bob] = [seen[0]!.serial, seen[1]!.serial];
      expect(ann).not.toBe(bob);
      expect(seen.map(({ verified }) => verified)).toEqual(Array(6).fill('SUCCESS'));
      expect(seen.map(({ serial }) => serial)).toEqual([ann, bob, ann, bob, ann, bob]);
      expect(seen.map(({ reused }) => reused)).toEqual(['.', '.', 'r', 'r', 'r', 'r']);
    },
  );

  test('answers a certificate of another issuer with a 400 of nginx, which the proxy forwards unchanged', async () => {
    const { sidekey, authority } = await behindNginx(
      certificateOf('agents', { from: makeTestAuthority('Somebody else') }),
    );
    const answer = await proxiedGet(sidekey.url, `https://${authority}/`);
    expect(answer).toMatchObject({
      status: 400,
      body: expect.stringContaining('SSL certificate error') as string,
    });
  });
});
