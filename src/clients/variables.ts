import { javaOptions } from './java.ts';
import type { TrustFiles } from './trust-files.ts';
import { type ClientVariable, mergedNoProxy, variables } from './variable-table.ts';

/** What programs are told. */
interface ClientSettings {
  /** The environment that they are started from. */
  readonly parent: NodeJS.ProcessEnv;
  readonly proxy: {
    /** With user information where a token is to be shown. It is a secret then. */
    readonly url: string;
    /** Where it is reached: a name or an address, an IPv6 one without brackets. */
    readonly host: string;
    readonly port: number;
  };
  readonly trust: TrustFiles;
  /** Hosts that are called without the proxy, besides those of the parent: see `withoutProxy`. */
  readonly noProxy: readonly string[];
}

/** Names and values of all variables of the table. Nothing that the parent has under another name is touched. */
export function clientVariables(settings: ClientSettings): Readonly<Record<string, string>> {
  const { parent } = settings;
  return Object.fromEntries(
    variables
      .filter((variable: ClientVariable) => variable.onlyIfSet !== true || isSet(parent[variable.name]))
      .map(({ name, value }) => [name, valueOf(value, settings)] as const)
      .filter((pair): pair is readonly [(typeof pair)[0], string] => pair[1] !== null),
  );
}

function valueOf(
  value: ClientVariable['value'],
  { parent, proxy, trust, noProxy }: ClientSettings,
): string | null {
  switch (value) {
    case 'proxy':
      return proxy.url;
    case 'no-proxy':
      return mergedNoProxy(parent, noProxy).join(',');
    case 'extra':
      return trust.extraFile;
    case 'bundle':
      return trust.bundleFile;
    case 'java':
      return javaOptions(parent['JAVA_TOOL_OPTIONS'] ?? '', {
        trustStore: trust.javaTrustStore,
        proxy,
        noProxy: mergedNoProxy(parent, noProxy),
      });
    case 'php':
      return withFolder(parent['PHP_INI_SCAN_DIR'] ?? '', trust.phpFolder);
    case 'wget':
      return trust.wgetFile;
    case 'hg':
      return trust.hgrcPath;
    case 'apt':
      return trust.aptFile;
    default:
      return value.text;
  }
}

/** An empty part stands for the folder that is built in. PHP parts folders by `:`, and on Windows by `;`. */
function withFolder(before: string, folder: string): string {
  const separator = process.platform === 'win32' ? ';' : ':';
  const kept = before.split(separator).filter((part) => part !== folder);
  return [...(before === '' ? [''] : kept), folder].join(separator);
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== '';
}
