import { existsSync, readFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { obtainTokens, TokenError } from './authorization-code.ts';
import { consentAs, SignInError } from './consent.ts';
import { caFileIn, openDataDirectory } from './data-directory.ts';
import { demoClientSecret, startHelpdesk } from './helpdesk.ts';
import { startedMessage, usage } from './messages.ts';
import { scopes } from './provider.ts';
import { users } from './users.ts';

const issuerHost = 'helpdesk.acme.test';
const loopback = '127.0.0.1';
const projectRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** A command line that cannot be followed. Ends with exit code 2. */
class UsageError extends Error {
  override readonly name = 'UsageError';
}

interface Settings {
  readonly command: 'serve' | 'token' | 'consent' | 'help';
  readonly user: string;
  /** Where `consent` goes. */
  readonly address: string;
  readonly port: number;
  readonly data: string;
  readonly accessTokenTtl: number;
  readonly scope: string;
}

function parseCommandLine(args: readonly string[]): Settings {
  const { values, positionals } = parse(args);
  const [command = 'serve', user = '', address = '', ...rest] = positionals;
  if (!['serve', 'token', 'consent'].includes(command))
    throw new UsageError(`There is no command ${command}.`);
  if (rest.length > 0 || (command === 'serve' && user !== '') || (command === 'token' && address !== ''))
    throw new UsageError('There are too many arguments.');
  const names = users.map(({ id }) => id);
  if (command === 'token' && !names.includes(user)) {
    throw new UsageError(`Whose token? token USER takes one of ${names.join(', ')}.`);
  }
  if (command === 'consent' && (!names.includes(user) || URL.parse(address)?.hostname !== issuerHost)) {
    throw new UsageError(
      `consent USER ADDRESS takes one of ${names.join(', ')}, and the address of the consent page at ${issuerHost}.`,
    );
  }
  const unknownScope = values.scope.split(' ').find((scope) => !Object.hasOwn(scopes, scope));
  if (unknownScope !== undefined) {
    throw new UsageError(`There is no scope "${unknownScope}"; there are ${Object.keys(scopes).join(', ')}.`);
  }
  return {
    command: values.help ? 'help' : (command as 'serve' | 'token' | 'consent'),
    user,
    address,
    port: wholeNumber('--port', values.port, command === 'serve' ? 0 : 1, 65_535),
    data: isAbsolute(values.data) ? values.data : join(projectRoot, values.data),
    accessTokenTtl: wholeNumber('--ttl', values.ttl, 1, 86_400),
    scope: values.scope,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        port: { type: 'string', default: '8443' },
        data: { type: 'string', default: 'data/helpdesk' },
        ttl: { type: 'string', default: '300' },
        scope: { type: 'string', default: 'openid read:tickets write:tickets' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function wholeNumber(option: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new UsageError(`${option} takes a whole number from ${least} to ${most}, not "${text}".`);
}

async function serve({ port, data, accessTokenTtl }: Settings): Promise<void> {
  const kept = openDataDirectory(data, issuerHost);
  const { tls, database, caFile } = kept;
  const helpdesk = await startHelpdesk({ host: loopback, port, issuerHost, tls, database, accessTokenTtl });
  process.stdout.write(
    startedMessage({
      issuer: helpdesk.issuer,
      address: `${loopback}:${helpdesk.port}`,
      accessTokenTtl,
      caFile,
      options: optionsFor(helpdesk.port, data),
    }),
  );
  let ending = false;
  const end = (): void => {
    if (ending) return;
    ending = true;
    void helpdesk.close().then(() => process.exit(0));
  };
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
}

/** What the token command needs to find this helpdesk, where it is not at its usual place. */
function optionsFor(port: number, data: string): string {
  const usual = join(projectRoot, 'data/helpdesk');
  return `${port === 8443 ? '' : ` --port ${port}`}${data === usual ? '' : ` --data ${data}`}`;
}

/** How the helpdesk at this port of this machine is reached. */
function connectionTo({ port, data }: Settings) {
  const caFile = caFileIn(data);
  if (!existsSync(caFile)) {
    throw new Error(`There is no ${caFile}: the helpdesk never ran here. Start it with: npm run helpdesk`);
  }
  const issuer = `https://${issuerHost}${port === 443 ? '' : `:${port}`}`;
  return { issuer, ca: readFileSync(caFile, 'utf8'), connectTo: { host: loopback, port } };
}

/** Logs in and agrees, as the person in front of a browser would; prints where the browser ends up. */
async function consent(settings: Settings): Promise<void> {
  const url = new URL(settings.address);
  const connection = connectionTo({ ...settings, port: url.port === '' ? 443 : Number(url.port) });
  const back = await consentAs(url, { user: settings.user, password: 'demo1234' }, connection);
  process.stdout.write(`${back.href}\n`);
}

async function printToken(settings: Settings): Promise<void> {
  const { user, scope } = settings;
  const connection = connectionTo(settings);
  const { issuer } = connection;
  const client = { clientId: 'sidekey', clientSecret: demoClientSecret };
  const tokens = await obtainTokens(connection, client, { user, password: 'demo1234' }, { scope });
  const token = {
    type: 'oauth2',
    access_token: tokens.access_token,
    refresh_token: tokens.refresh_token,
    // An end rather than a lifetime: the file may lie for a while before it is used.
    expires_at: Math.floor(Date.now() / 1000) + tokens.expires_in,
    scope: tokens.scope,
    client_id: client.clientId,
    client_secret: client.clientSecret,
    token_endpoint: `${issuer}/token`,
  };
  process.stdout.write(`${JSON.stringify(token, null, 2)}\n`);
}

async function main(): Promise<void> {
  const settings = parseCommandLine(process.argv.slice(2));
  if (settings.command === 'help') process.stdout.write(usage);
  else if (settings.command === 'token') await printToken(settings);
  else if (settings.command === 'consent') await consent(settings);
  else await serve(settings);
}

/** One sentence, and the exit code: 2 bad input, 5 the helpdesk said no, 6 no connection, 1 all else. */
function explain(error: unknown): [sentence: string, exit: number] {
  if (error instanceof UsageError) return [`${error.message}\n\n${usage}`, 2];
  if (error instanceof SignInError || error instanceof TokenError) return [error.message, 5];
  const { code = '', message = String(error) } = (error ?? {}) as { code?: string; message?: string };
  switch (code) {
    case 'EADDRINUSE':
      return ['The port is in use. Name a free one: npm run helpdesk -- --port PORT', 1];
    case 'EACCES':
      return [`Not allowed: ${message}`, 1];
    case 'ECONNREFUSED':
      return ['No helpdesk answers there. Start it with: npm run helpdesk', 6];
    default:
      return [message, 1];
  }
}

main().catch((error: unknown) => {
  const [sentence, exit] = explain(error);
  process.stderr.write(`helpdesk: ${sentence}\n`);
  process.exitCode = exit;
});
