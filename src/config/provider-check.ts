import { isWithin } from '../policy/audience.ts';
import { isPattern, parsePattern } from '../policy/pattern.ts';
import { carriageProblem } from './carried-credential.ts';
import type { CatalogEntry } from './catalog.ts';
import { dpopMisfit } from './dpop-definition.ts';
import type { Path } from './problem.ts';
import type { CatalogProvider } from './provider-definition.ts';

/** What the schema cannot say: how the parts of a definition fit together. */
export interface Misfit {
  readonly path: Path;
  /** The end of a sentence that begins with the path. */
  readonly message: string;
}

type Check = (definition: CatalogProvider, entry: CatalogEntry) => Misfit | false;

const checks: readonly Check[] = [
  ({ flows, token, token_endpoint: endpoint }) =>
    flows === undefined &&
    token === undefined &&
    endpoint === undefined &&
    misfit([], 'offers no way in: it needs endpoints and flows, or a token'),
  ({ flows, token_endpoint: endpoint }) =>
    flows?.some((flow) => flow !== 'auth0_connection') === true &&
    endpoint === undefined &&
    misfit(['flows'], 'need a token_endpoint'),
  ({ flows, authorization_endpoint: endpoint }) =>
    flows !== undefined &&
    flows.includes('authorization_code') !== (endpoint !== undefined) &&
    misfit(
      ['authorization_endpoint'],
      'goes with the flow authorization_code, and neither without the other',
    ),
  ({ flows, device_authorization_endpoint: endpoint }) =>
    flows !== undefined &&
    flows.includes('device_code') !== (endpoint !== undefined) &&
    misfit(
      ['device_authorization_endpoint'],
      'goes with the flow device_code, and neither without the other',
    ),
  ({ scopes = [], known_scopes: known }) => {
    const unknown = known === undefined ? [] : scopes.filter((scope) => known[scope] === undefined);
    return unknown.length > 0 && misfit(['known_scopes'], `does not say what ${unknown.join(', ')} is for`);
  },
  ({ inject = [], audience }) => {
    const texts = audience.map(({ text }) => text);
    const hosts = inject.flatMap((place) => (place.as.kind === 'own' ? [] : (place.hosts ?? [])));
    const beyond = hosts.find((host) => !isWithinText(texts, host));
    return beyond !== undefined && misfit(['inject'], `names ${beyond}, which is not in the audience`);
  },
  (definition) => {
    const problem = dpopMisfit(definition);
    return problem !== null && misfit(['dpop'], problem);
  },
  ({ domains = [], inject = [], audience }) => {
    // Where the client has its own credential, ours need not be good for the host.
    const own = inject.flatMap((place) => (place.as.kind === 'own' ? (place.hosts ?? []) : []));
    const texts = [...audience.map(({ text }) => text), ...own];
    const beyond = domains.filter((pattern) => !isWithin(texts, pattern));
    return beyond.length > 0 && misfit(['domains'], `names ${beyond[0]?.text}, which is not in the audience`);
  },
  ({ probe, audience }) => {
    if (probe === undefined) return false;
    const pattern = parsePattern(new URL(probe.url).host);
    const texts = audience.map(({ text }) => text);
    const fits = isPattern(pattern) && isWithin(texts, pattern);
    return (
      !fits && misfit(['probe', 'url'], 'is not in the audience, so the credential would not be sent there')
    );
  },
  (definition) => {
    const problem = carriageProblem(definition);
    return problem !== null && misfit(['inject'], problem);
  },
  (_definition, { document, settings }) => {
    const written = JSON.stringify(document.value);
    const unused = settings.find(({ name }) => !written.includes(`{${name}}`));
    return unused !== undefined && misfit(['settings', unused.name], 'is used nowhere');
  },
];

/** Everything in a definition that does not fit together; none for one that is right. */
export function checkProvider(entry: CatalogEntry): readonly Misfit[] {
  return checks.map((check) => check(entry.definition, entry)).filter((found) => found !== false);
}

function isWithinText(audience: readonly string[], host: string): boolean {
  const pattern = parsePattern(host);
  return isPattern(pattern) && isWithin(audience, pattern);
}

function misfit(path: Path, message: string): Misfit {
  return { path, message };
}
