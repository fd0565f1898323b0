/** `JAVA_TOOL_OPTIONS`, which every JVM reads at its start, and prints to stderr: nothing secret may stand in it. */

/** What Java is told. */
export interface JavaSettings {
  readonly trustStore: { readonly file: string; readonly password: string };
  readonly proxy: { readonly host: string; readonly port: number };
  /** Entries of `NO_PROXY`. */
  readonly noProxy: readonly string[];
}

/**
 * What is there, and then ours: of two `-D` of one name the JVM takes the last. Options of ours from before (a shell
 * in which the variables are set already) are not repeated.
 */
export function javaOptions(before: string, settings: JavaSettings): string {
  const ours = propertiesOf(settings);
  const names = new Set(ours.map(([name]) => name));
  const kept = splitOptions(before).filter((option) => !names.has(propertyName(option) ?? ''));
  return [...kept, ...ours.map(([name, value]) => quoted(`-D${name}=${value}`))].join(' ');
}

/** The value that the JVM would take for a system property; null: the options do not say it. */
export function javaOption(options: string, name: string): string | null {
  const last = splitOptions(options).findLast((option) => propertyName(option) === name);
  return last === undefined ? null : unquoted(last).slice(`-D${name}=`.length);
}

function propertiesOf({ trustStore, proxy, noProxy }: JavaSettings): (readonly [string, string])[] {
  const port = String(proxy.port);
  return [
    ['javax.net.ssl.trustStore', trustStore.file],
    ['javax.net.ssl.trustStoreType', 'PKCS12'],
    ['javax.net.ssl.trustStorePassword', trustStore.password],
    ['http.proxyHost', proxy.host],
    ['http.proxyPort', port],
    ['https.proxyHost', proxy.host],
    ['https.proxyPort', port],
    ['http.nonProxyHosts', nonProxyHosts(noProxy)],
    // Maven 3.9 and later: the resolver asks for these properties only then (maven.apache.org/resolver/configuration.html).
    ['aether.connector.http.useSystemProperties', 'true'],
    // Since 8u111 the JDK refuses to answer a proxy's 407 with Basic on a CONNECT, unless this is empty.
    ['jdk.http.auth.tunneling.disabledSchemes', ''],
  ];
}

/**
 * `NO_PROXY` in Java's words: `.x` and `x` both mean x and what is below it to most programs, which Java has to be told
 * as `x|*.x`. Ports and blocks of addresses mean nothing to it, and are left out: those hosts go through the proxy.
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

/** The JVM splits at white space, and reads `'…'` and `"…"` literally, in the middle of a word too. It knows no escapes. */
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
  // Each piece in the quotes that it does not hold.
  return option.replaceAll(/[^']+|'+/g, (piece) => (piece.startsWith("'") ? `"${piece}"` : `'${piece}'`));
}
