import { X509Certificate } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { certificatePem } from '../ca/certificate.ts';
import { readRegularFile } from '../config/reload.ts';

interface JavaRoots {
  /** PEM texts; null: Java or its roots were not found, so the system's roots are used. */
  readonly roots: readonly string[] | null;
  readonly notes: readonly string[];
}

const maxBytes = 16 * 1024 * 1024;

/**
 * Returns the roots of Java's default trust store: the one in `JAVA_TOOL_OPTIONS`, else `cacerts` of the JDK
 * in `JAVA_HOME`, else of the one on the PATH. They can differ from the system's: some companies import their
 * root only there.
 */
export async function javaRoots(parent: NodeJS.ProcessEnv): Promise<JavaRoots> {
  const named = javaOption(parent['JAVA_TOOL_OPTIONS'] ?? '', 'javax.net.ssl.trustStore');
  for (const file of named === null ? await jdkFiles(parent) : [named]) {
    const bytes = read(file);
    if (bytes === null) continue;
    const certificates = certificatesWithin(bytes);
    if (certificates.length > 0)
      return { roots: certificates.map(({ raw }) => certificatePem(raw)), notes: [] };
  }
  return {
    roots: null,
    notes:
      named === null
        ? []
        : [
            `The trust store ${named} of JAVA_TOOL_OPTIONS shows no certificate: Java gets the system's roots.`,
          ],
  };
}

/** Returns paths of the roots of a JDK, equal in all builds since JEP 319. Java 8 has them below `jre`. */
async function jdkFiles(parent: NodeJS.ProcessEnv): Promise<readonly string[]> {
  const home = parent['JAVA_HOME'];
  const homes = home === undefined || home === '' ? await homesOnPath(parent['PATH'] ?? '') : [home];
  return homes.flatMap((folder) => [
    join(folder, 'lib', 'security', 'cacerts'),
    join(folder, 'jre', 'lib', 'security', 'cacerts'),
  ]);
}

async function homesOnPath(path: string): Promise<readonly string[]> {
  const launchers = path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => realpath(join(folder, 'java')).catch(() => null));
  return (await Promise.all(launchers)).filter((file) => file !== null).map((file) => dirname(dirname(file)));
}

function read(file: string): Buffer | null {
  try {
    const content = readRegularFile(file, maxBytes);
    return content !== null && content.bytes.length <= maxBytes ? content.bytes : null;
  } catch {
    return null;
  }
}

/**
 * Returns the certificates of a Java trust store. JKS and the PKCS #12 of JDK 18 and later (JDK-8275252)
 * contain them unencrypted, so each DER sequence that is a complete certificate is found. A PKCS #12 with
 * encrypted bags yields none.
 */
export function certificatesWithin(store: Buffer): X509Certificate[] {
  const certificates: X509Certificate[] = [];
  for (let at = store.indexOf(sequenceOfTwoBytes); at >= 0; at = store.indexOf(sequenceOfTwoBytes, at)) {
    const end = at + 4 + (at + 4 <= store.length ? store.readUInt16BE(at + 2) : 0);
    const certificate = end <= store.length ? certificateOf(store.subarray(at, end)) : null;
    if (certificate === null) at += 1;
    else {
      certificates.push(certificate);
      at = end;
    }
  }
  return certificates;
}

/** DER sequence with a length of two bytes: certificates have 256 bytes to 64 KB. */
const sequenceOfTwoBytes = Buffer.from([0x30, 0x82]);

function certificateOf(der: Buffer): X509Certificate | null {
  // Certificate ::= SEQUENCE { tbsCertificate SEQUENCE …: a cheap check before parsing.
  if (der[4] !== 0x30) return null;
  try {
    return new X509Certificate(der);
  } catch {
    return null;
  }
}

/**
 * `JAVA_TOOL_OPTIONS`, which every JVM reads at its start and prints to stderr: it must not contain a secret.
 */

interface JavaSettings {
  readonly trustStore: { readonly file: string; readonly password: string };
  /** Address of the proxy; null: only the options for trust. */
  readonly proxy: { readonly host: string; readonly port: number } | null;
  /** Entries of `NO_PROXY`. */
  readonly noProxy: readonly string[];
}

/**
 * Appends our options to the existing ones: the JVM uses the last `-D` of a name. Does not repeat our options
 * in a shell that already has them.
 */
export function javaOptions(before: string, settings: JavaSettings): string {
  const ours = propertiesOf(settings);
  const names = new Set(ours.map(([name]) => name));
  const others = splitOptions(before).filter((option) => !names.has(propertyName(option) ?? ''));
  return [...others, ...ours.map(([name, value]) => quoted(`-D${name}=${value}`))].join(' ');
}

/** Returns the value of a system property; null if the options do not set it. */
export function javaOption(options: string, name: string): string | null {
  const last = splitOptions(options).findLast((option) => propertyName(option) === name);
  return last === undefined ? null : unquoted(last).slice(`-D${name}=`.length);
}

function propertiesOf({ trustStore, proxy, noProxy }: JavaSettings): (readonly [string, string])[] {
  const port = String(proxy?.port);
  const trust: (readonly [string, string])[] = [
    ['javax.net.ssl.trustStore', trustStore.file],
    ['javax.net.ssl.trustStoreType', 'PKCS12'],
    ['javax.net.ssl.trustStorePassword', trustStore.password],
  ];
  if (proxy === null) return trust;
  return [
    ...trust,
    ['http.proxyHost', proxy.host],
    ['http.proxyPort', port],
    ['https.proxyHost', proxy.host],
    ['https.proxyPort', port],
    ['http.nonProxyHosts', nonProxyHosts(noProxy)],
    // Maven 3.9 and later: the resolver reads these properties only then
    // (maven.apache.org/resolver/configuration.html).
    ['aether.connector.http.useSystemProperties', 'true'],
    // Since 8u111 the JDK refuses to answer a proxy's 407 with Basic on a CONNECT, unless this is empty.
    ['jdk.http.auth.tunneling.disabledSchemes', ''],
  ];
}

/**
 * Converts `NO_PROXY` to Java syntax. `.x` and `x` match x and its subdomains in most programs, which is
 * `x|*.x` in Java. Ports and address blocks are not supported and omitted: those hosts use the proxy.
 */
export function nonProxyHosts(noProxy: readonly string[]): string {
  const hosts = noProxy.flatMap((entry) => {
    if (entry === '*') return ['*'];
    if (entry === '127.0.0.1') return ['127.*'];
    if (entry.includes('/')) return [];
    if (/^[0-9a-f:.]*:[0-9a-f:.]*:/i.test(entry)) return [`[${entry}]`];
    const host = entry.replace(/^\*?\./, '');
    if (host === '' || !/^[\w.-]+$/.test(host)) return [];
    return /^[0-9.]+$/.test(host) ? [host] : [host, `*.${host}`];
  });
  return [...new Set(hosts)].join('|');
}

/**
 * Splits options like the JVM: at white space, with literal `'…'` and `"…"`, even within a word, without
 * escapes.
 */
function splitOptions(text: string): string[] {
  return text.match(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g) ?? [];
}

function propertyName(option: string): string | null {
  return /^-D([^=]+)=/.exec(unquoted(option))?.[1] ?? null;
}

function unquoted(option: string): string {
  return option.replaceAll(
    /"([^"]*)"|'([^']*)'/g,
    (_all, double?: string, single?: string) => double ?? single ?? '',
  );
}

function quoted(option: string): string {
  if (!/[\s'"]/.test(option)) return option;
  // Quotes each piece with the quotes that it does not contain.
  return option.replaceAll(/[^']+|'+/g, (piece) => (piece.startsWith("'") ? `"${piece}"` : `'${piece}'`));
}
