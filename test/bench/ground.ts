/** Parts that all subjects share: the upstream, its certificates, the token, the names. */
import { generateKeyPairSync } from 'node:crypto';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import forge from 'node-forge';
import { freePort } from '../support/free-port.ts';
import {
  issueLeaf,
  makeAuthority,
  validFor,
  type CertifiedKey,
} from '../../examples/helpdesk/certificate.ts';
import { kilobyteLength } from './load.ts';
import { isInstalled, openFileLimit, startProgram, type Running } from './process.ts';
import type { Ground } from './subject.ts';

/** The length of the body behind `/10m`, and of the one that is sent to `/upload`. */
export const bulkLength = 10 * 1024 * 1024;

/** Starts the upstream. `coldHosts`: how many hosts it is to have besides the usual one. */
export async function prepareGround(
  folder: string,
  coldHosts: number,
): Promise<{ readonly ground: Ground; readonly upstream: Running; readonly server: string }> {
  const host = 'localhost';
  const token = 'bench-token-0123456789abcdef';
  const file = (name: string) => join(folder, name);
  const authority = makeAuthority('Bench Root', validFor(30, Date.now()));
  // Servers that give up their rights after the start have to reach their files; what is secret has folders
  // of its own.
  await chmod(folder, 0o711);
  await mkdir(file('www'));
  await writeFile(file('www/1k'), 'x'.repeat(kilobyteLength));
  await writeFile(file('www/10m'), Buffer.alloc(bulkLength, 0x5a));
  await writeFile(file('token'), token);
  await writeFile(file('root.pem'), authority.cert);
  for (const [name, leaf] of [
    ['leaf', issueLeaf(authority, host, validFor(30, Date.now()))],
    ['cold', issueLeaf(authority, '*.bench.test', validFor(30, Date.now()))],
  ] as const) {
    await writeFile(file(`${name}.pem`), leaf.cert);
    await writeFile(file(`${name}.key`), leaf.key);
  }
  const port = await freePort();
  const hasNginx = isInstalled('nginx');
  if (hasNginx) await writeFile(file('nginx.conf'), nginxConfig(folder, port, token));
  const upstream = hasNginx
    ? await startProgram('nginx', ['-p', folder, '-e', file('nginx.log'), '-c', file('nginx.conf')], port)
    : await startProgram(
        process.execPath,
        [fileURLToPath(new URL('upstream.ts', import.meta.url)), folder, String(port)],
        port,
      );
  const ground: Ground = {
    folder,
    host,
    port,
    coldHosts: Array.from({ length: coldHosts }, (_, index) => `h${index}.bench.test`),
    root: authority.cert,
    rootFile: file('root.pem'),
    token,
    rsaAuthority: makeRsaAuthority(),
  };
  return { ground, upstream, server: hasNginx ? 'nginx' : 'a small Node.js server (no nginx here)' };
}

/** Every answer of 200 had the token. A body that is sent is read to its end before the answer. */
function nginxConfig(folder: string, port: number, token: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${folder}/temp-${kind};`)
    .join('\n  ');
  const files = Math.min(openFileLimit(), 65_536);
  const server = (names: string, leaf: string, options: string) => `
  server {
    server_name ${names};
    listen 127.0.0.1:${port} ssl${options};
    ssl_certificate ${folder}/${leaf}.pem;
    ssl_certificate_key ${folder}/${leaf}.key;
    root ${folder}/www;
    if ($lacks_token) { return 403; }
    location = /upload {
      proxy_pass http://unix:${folder}/inner.sock:/;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }
  }`;
  return `
daemon off;
worker_processes 1;
worker_rlimit_nofile ${files};
pid ${folder}/nginx.pid;
error_log ${folder}/nginx.log;
events { worker_connections ${Math.min(files, 24_000)}; multi_accept on; }
http {
  access_log off;
  ${temporary}
  default_type application/json;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  client_max_body_size 0;
  client_body_buffer_size 11m;
  output_buffers 2 256k;
  open_file_cache max=10 inactive=10m;
  open_file_cache_valid 10m;
  map $http_authorization $lacks_token { default 1; "Bearer ${token}" 0; }
${server('localhost', 'leaf', ' backlog=4096')}
${server('*.bench.test', 'cold', '')}
  server {
    server_name login.bench.test;
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${folder}/cold.pem;
    ssl_certificate_key ${folder}/cold.key;
    location = /token {
      return 200 '{"access_token":"${token}","token_type":"Bearer","refresh_token":"bench-refresh-0123456789abcdef","expires_in":60}';
    }
  }
  server { listen unix:${folder}/inner.sock; location / { return 200 "ok"; } }
}
`;
}

function makeRsaAuthority(): CertifiedKey {
  const pair = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  });
  const certificate = forge.pki.createCertificate();
  const { notBefore, notAfter } = validFor(30, Date.now());
  const name = [{ name: 'commonName', value: 'Bench RSA CA' }];
  certificate.publicKey = forge.pki.publicKeyFromPem(pair.publicKey);
  certificate.serialNumber = '01';
  certificate.validity.notBefore = new Date(notBefore);
  certificate.validity.notAfter = new Date(notAfter);
  certificate.setSubject(name);
  certificate.setIssuer(name);
  certificate.setExtensions([
    { name: 'basicConstraints', cA: true, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    { name: 'subjectKeyIdentifier' },
  ]);
  certificate.sign(forge.pki.privateKeyFromPem(pair.privateKey), forge.md.sha256.create());
  return { key: pair.privateKey, cert: forge.pki.certificateToPem(certificate) };
}
