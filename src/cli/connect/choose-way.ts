import { SidekeyError } from '../../errors.ts';
import type { Flow, Provider } from '../../grants/provider.ts';
import type { ConnectOptions } from './flow.ts';

/** A way to a credential: a flow of OAuth, or a person who has one already. */
export type Way = Flow | 'token' | 'import';

type Options = Omit<ConnectOptions, 'name' | 'user'>;

/** The options that choose a way, as they are typed. */
const choices: readonly (readonly [option: string, way: Way, isSaid: (options: Options) => boolean])[] = [
  ['--device', 'device_code', ({ device }) => device === true],
  ['--client-credentials', 'client_credentials', ({ clientCredentials }) => clientCredentials === true],
  ['--jwt-bearer', 'jwt_bearer', ({ jwtBearer }) => jwtBearer === true],
  ['--token-exchange', 'token_exchange', ({ tokenExchange }) => tokenExchange === true],
  ['--installation-id', 'github_installation', ({ installationId }) => installationId !== undefined],
  ['--assume-role', 'aws_role', ({ assumeRole }) => assumeRole !== undefined],
  ['--via', 'auth0_connection', ({ via }) => via !== undefined],
  ['--token', 'token', ({ token }) => token === true],
  ['--import', 'import', (options) => options.import === true],
];

/** Options of a consent in a browser; they go with a way that needs one, and choose it where no other is named. */
const browserOptions: readonly (readonly [option: string, isSaid: (options: Options) => boolean])[] = [
  ['--print-url', ({ printUrl }) => printUrl === true],
  ['--paste', ({ paste }) => paste === true],
  ['--browser', ({ browser }) => browser !== undefined],
  ['--port', ({ port }) => port !== undefined],
  ['--redirect-uri', ({ redirectUri }) => redirectUri !== undefined],
];

/**
 * The way that the options name, else the usual one of the provider.
 *
 * @throws SidekeyError `input_invalid` where the options name two
 */
export function chooseWay(options: Options, { flows }: Pick<Provider, 'flows'>): Way {
  const [first, second] = choices.filter(([, , isSaid]) => isSaid(options));
  const inBrowser = browserOptions.find(([, isSaid]) => isSaid(options));
  if (first === undefined) return inBrowser === undefined ? (flows[0] ?? 'token') : 'authorization_code';
  const [option, way] = first;
  if (second !== undefined) throw both(option, second[0]);
  // An account at Auth0 is connected in one go, by one process.
  const takesBrowser = way === 'auth0_connection' && options.printUrl !== true;
  if (inBrowser !== undefined && !takesBrowser) throw both(option, inBrowser[0]);
  return way;
}

function both(one: string, other: string): SidekeyError {
  return new SidekeyError('input_invalid', `${one} and ${other} do not go together.`, {
    hint: 'leave one of them out',
  });
}
