import { execFileSync, spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, createServer, type SecureContextOptions } from 'node:tls';
import { once } from 'node:events';
import { openAuthority, type CertificateAuthority } from '../../../src/ca/authority.ts';
import { bareHost, isAddress } from '../../../src/proxy/policy/authority.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { vaultForTest } from '../store/vault/vault-for-test.ts';

/** A new CA. */
export async function freshAuthority(
  permittedNames: readonly string[] = [],
  now: () => number = Date.now,
): Promise<CertificateAuthority> {
  return openAuthority({ directory: await tempFolder(), vault: vaultForTest(), permittedNames, now });
}

/** True when a program is on this machine; tests that need it are skipped without it. */
export function hasProgram(name: string, versionArgument: string): boolean {
  return spawnSync(name, [versionArgument], { stdio: 'ignore' }).error === undefined;
}

/** The output of `openssl x509 -text` for a certificate. */
export function opensslText(pem: string): string {
  return execFileSync('openssl', ['x509', '-noout', '-text'], { input: pem, encoding: 'utf8' });
}

/** The output of `openssl verify` for a server certificate of this host. */
export async function opensslVerify(caPem: string, leafPem: string, host: string): Promise<string> {
  const directory = await tempFolder();
  const caFile = join(directory, 'ca.pem');
  const leafFile = join(directory, 'leaf.pem');
  await writeFile(caFile, caPem);
  await writeFile(leafFile, leafPem);
  const name = [isAddress(host) ? '-verify_ip' : '-verify_hostname', bareHost(host)];
  const roots = ['-no-CApath', '-no-CAstore', '-CAfile', caFile];
  const { stdout, stderr } = spawnSync(
    'openssl',
    ['verify', '-x509_strict', '-purpose', 'sslserver', ...name, ...roots, leafFile],
    { encoding: 'utf8' },
  );
  return (stdout + stderr).replaceAll(leafFile, 'leaf');
}

/**
 * Makes a handshake as a client that trusts only this CA and requests this host: the TLS version, or the
 * error code of the client.
 */
export async function handshake(
  server: SecureContextOptions,
  caPem: string,
  host: string,
  client: SecureContextOptions = {},
): Promise<string> {
  const listener = createServer(server).listen(0, '127.0.0.1');
  listener.on('tlsClientError', () => undefined);
  await once(listener, 'listening');
  const address = listener.address();
  const socket = connect(typeof address === 'object' && address !== null ? address.port : 0, '127.0.0.1');
  const secure = connectTls({
    socket,
    host: bareHost(host),
    ...(isAddress(host) ? {} : { servername: host }),
    ca: caPem,
    ...client,
  });
  try {
    await once(secure, 'secureConnect');
    return secure.getProtocol() ?? 'none';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  } finally {
    secure.destroy();
    socket.destroy();
    listener.close();
    await once(listener, 'close');
  }
}
