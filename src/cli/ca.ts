import { X509Certificate } from 'node:crypto';
import { chmod, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { certificatePem as pemOf } from '../ca/certificate.ts';
import { writeTrustFiles } from '../clients/trust-files.ts';
import { clientVariables, withoutProxy } from '../clients/variables.ts';
import type { Context } from './context.ts';
import { details } from './display.ts';
import { perform } from './operation-command.ts';
import { exportCa, showCa } from '../operations/ca.ts';
import { dateTime, relativeTime } from '../operations/format.ts';
import { openOutputFile, type OutputFileOptions, unwritable } from './output-file.ts';
import { inputInvalid, SidekeyError, systemCode } from '../lib/errors.ts';
import { makeFolder } from '../lib/os.ts';
import { shellQuoted } from '../lib/text.ts';

export interface ExportOptions extends OutputFileOptions {
  readonly format: string;
  readonly passwordFile?: string;
  /** File with the certificate, instead of the one of this home. */
  readonly ca?: string;
}

/** Java's default password. Certificates are public: it only keys the integrity check that Java requires. */
const javaDefault = 'changeit';

/** `sidekey ca export` */
export async function exportTrust(context: Context, options: ExportOptions): Promise<void> {
  const { output } = context;
  const format = readFormat(options.format);
  if (format === 'p12' && options.output === undefined && (output.isTerminal || output.json)) {
    throw new SidekeyError('input_invalid', 'A p12 file is binary: the terminal cannot show it.', {
      hint: 'sidekey ca export --format p12 --output trust.p12',
    });
  }
  const certificatePem =
    options.ca === undefined ? (await perform(context, exportCa)).result.pem : await readCa(options.ca);
  if (format === 'folder') return exportFolder(context, certificatePem, options.output);
  const content = await render(format, certificatePem, context, options);
  if (options.output === undefined) {
    if (output.json) output.result({ format, pem: content.toString('latin1') }, '');
    else output.bytes(content);
    return;
  }
  const file = resolve(options.output);
  await write(file, content, options.force === true);
  output.result({ format, file, bytes: content.length }, `Wrote ${options.output}.`);
  output.say(usage[format](options.output));
}

type Format = 'pem' | 'bundle' | 'p12';

/**
 * Writes the trust files of all programs, and the variables that name them, into a folder for containers to
 * mount. Replaces earlier files.
 */
async function exportFolder(
  { output }: Context,
  authorityPem: string,
  asked: string | undefined,
): Promise<void> {
  if (asked === undefined) {
    throw new SidekeyError('input_invalid', 'The format folder needs --output.', {
      hint: 'sidekey ca export --format folder --output /trust',
    });
  }
  const folder = resolve(asked);
  // Programs of other containers run as other users. Somebody else may own the volume's folder.
  for (const each of [folder, join(folder, 'php')]) {
    try {
      if (makeFolder(each)) await chmod(each, 0o755);
    } catch (cause) {
      throw unwritable(each, cause);
    }
  }
  // Uses no variables of this user, because the programs run in other containers.
  const parent = { HOME: folder };
  const trust = await writeTrustFiles(folder, { authorityPem, parent });
  const set = clientVariables({ parent, proxy: null, trust, noProxy: withoutProxy([], null) });
  const variables = join(folder, 'env.sh');
  const exports = Object.entries(set).map(([name, value]) =>
    name.toUpperCase() === 'NO_PROXY'
      ? `export ${name}="\${${name}:+$${name},}${value}\${_sidekey_proxy:+,$_sidekey_proxy}"\n`
      : `export ${name}=${shellQuoted(value)}\n`,
  );
  await write(variables, Buffer.from(`${proxyOfShell}${exports.join('')}unset _sidekey_proxy\n`), true);
  output.result(
    { format: 'folder', folder, variables: set },
    `Wrote the files of all programs into ${asked}.`,
  );
  output.say(`Their variables: . ${variables}`);
}

/**
 * Shell lines that set `_sidekey_proxy` to the entry for the shell's proxy in `NO_PROXY`, as `withoutProxy`
 * has it: HOST:PORT, or an IPv6 address without brackets and port.
 */
const proxyOfShell = `_sidekey_proxy="\${HTTPS_PROXY:-\${https_proxy-}}"
_sidekey_proxy="\${_sidekey_proxy%/}"; _sidekey_proxy="\${_sidekey_proxy##*[@/]}"
case "$_sidekey_proxy" in \\[*) _sidekey_proxy="\${_sidekey_proxy%]*}"; _sidekey_proxy="\${_sidekey_proxy#?}" ;; esac
`;

/** @throws SidekeyError `input_invalid` */
async function readCa(file: string): Promise<string> {
  try {
    const pem = await readFile(file, 'utf8');
    return pemOf(new X509Certificate(pem).raw);
  } catch (cause) {
    const sentence = `${file} has no certificate that can be read (${systemCode(cause)}).`;
    const hint = 'give the PEM file of "sidekey ca export"';
    throw new SidekeyError('input_invalid', sentence, { hint, cause });
  }
}

const usage: Readonly<Record<Format, (file: string) => string>> = {
  pem: (file) => `Our certificate alone: curl --cacert ${file}, NODE_EXTRA_CA_CERTS=${file}`,
  bundle: (file) =>
    `Our certificate and this machine's roots: SSL_CERT_FILE=${file} REQUESTS_CA_BUNDLE=${file}`,
  p12: (file) =>
    `For Java: -Djavax.net.ssl.trustStore=${file} -Djavax.net.ssl.trustStoreType=PKCS12 (and trustStorePassword, where it is not ${javaDefault})`,
};

async function render(
  format: Format,
  caPem: string,
  { env }: Context,
  { passwordFile }: ExportOptions,
): Promise<Buffer> {
  switch (format) {
    case 'pem':
      return Buffer.from(caPem);
    case 'bundle': {
      const { pemBundle } = await import('../ca/trust-bundle.ts');
      return Buffer.from(pemBundle(caPem));
    }
    case 'p12': {
      const password =
        passwordFile === undefined ? env['SIDEKEY_P12_PASSWORD'] : await readPassword(passwordFile);
      const { pkcs12TrustStore } = await import('../ca/trust-bundle.ts');
      return pkcs12TrustStore(caPem, password ?? javaDefault);
    }
  }
}

function readFormat(text: string): Format | 'folder' {
  if (text === 'pem' || text === 'bundle' || text === 'p12' || text === 'folder') return text;
  throw inputInvalid('The format is not pem, bundle, p12 or folder.', 'sidekey ca export --help');
}

/** Reads a password from the first line of a file, without the line break. */
async function readPassword(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).replace(/\r?\n$/, '');
  } catch (cause) {
    const sentence = `The password file ${file} cannot be read (${systemCode(cause)}).`;
    const hint = 'name a file that holds the password in one line';
    throw new SidekeyError('secret_missing', sentence, { hint, cause });
  }
}

/** Mode 0644: the content is public. */
async function write(file: string, content: Buffer, force: boolean): Promise<void> {
  await using handle = await openOutputFile(file, force, 0o644);
  await handle.writeFile(content).catch((cause: unknown) => {
    throw unwritable(file, cause);
  });
}

/** `sidekey ca show` */
export async function show(context: Context): Promise<void> {
  const { result, answer, at } = await perform(context, showCa);
  const { name, certificateFile, fingerprint, notBefore, notAfter } = result;
  const { output } = context;
  output.result(
    answer,
    details(output.display, name, {
      certificate: certificateFile,
      'SHA-256': fingerprint.toUpperCase().match(/../g)?.join(':') ?? '',
      begins: dateTime(notBefore),
      ends: `${dateTime(notAfter)} (${relativeTime(notAfter, at)})`,
      'valid for': answer.permitted_names.join(', ') || 'any host name',
    }),
  );
}
