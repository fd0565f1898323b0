import { z } from 'zod';
import { idToStar } from '../audit/summary.ts';
import type { AuditLine } from '../domain/event.ts';
import { titleOf } from '../domain/grant.ts';
import { grantGone } from '../grants/keep.ts';
import { consentRemedy } from '../grants/messages.ts';
import { SidekeyError } from '../lib/errors.ts';
import { type Hint, hintOf } from '../lib/hint.ts';
import { auditConditions, checkConditions } from './audit-conditions.ts';
import { eventQuery } from './audit-events.ts';
import { findGrant } from './find.ts';
import { isoOrNull, isoTime } from './format.ts';
import { renewedBy } from './grant-answer.ts';
import { grantRemedy } from './lookup.ts';
import { grantOwner, hintAnswer, named, remedies, text, texts, time, timeOrNull } from './members.ts';
import { reading } from './operation.ts';
import { endpointFinder, judgeScopes, type Place, scopeTables } from './scope-table.ts';

/** Scopes of a grant that its requests did not need. */

export const compareScopes = reading({
  id: 'grant.scopes',
  summary: 'Compare the scopes of a grant with the endpoints in the audit log of this machine.',
  scope: 'audit:read',
  input: z.strictObject({ grant: text, user: grantOwner, since: auditConditions.since }),
  output: named('GrantScopes', {
    id: z.uuid(),
    name: z.string(),
    table: z.string().nullable().describe('Name of the table; null: there is none for the provider.'),
    log: z.strictObject({ from: timeOrNull, to: time, requests: z.int() }),
    scopes: texts.describe('Those of the grant.'),
    enough: texts.describe('Those that would do for the requests.'),
    removable: texts,
    unjudged: texts.describe('Kept, because the table does not say what they are for.'),
    smallest: z.boolean().describe('True: no smaller set would do. False: something was not judged.'),
    endpoints: z
      .array(
        z.strictObject({ host: z.string(), endpoint: z.string(), requests: z.int(), known: z.boolean() }),
      )
      .describe('Places of the requests. `known`: the endpoint is in the table.'),
    hint: z.string().optional(),
    remedies,
  }),
  check: ({ since }, at) => checkConditions({ since }, at),
  async run({ caller, config, during, store, ...parts }, { grant: reference, user, since }, at) {
    const { id } = await findGrant(store, { grant: reference, user }, caller);
    const opened = (await (await parts.registry())?.read(id)) ?? null;
    if (opened === null) throw grantGone();
    const { grant, sealed } = opened;
    if (grant.scopes.length === 0) {
      throw new SidekeyError('input_invalid', `${titleOf(grant)} has no scopes that Sidekey knows.`, {
        hint: 'its scopes are set at the provider',
      });
    }
    const hosts = new Set(sealed.audience);
    const table =
      scopeTables().find(({ providers }) => providers.includes(grant.provider)) ??
      scopeTables().find(({ apis }) => apis.some((api) => api.hosts.some((host) => hosts.has(host)))) ??
      null;
    const find = table === null ? () => null : endpointFinder(table);
    const query = eventQuery(config, { grant: id, since }, { grants: [], at });
    const places = await during('Reading the audit log', (onShare) => placesIn(query.events(onShare), find));
    const judged =
      table === null
        ? { enough: grant.scopes, unjudged: grant.scopes, isSmallest: false }
        : judgeScopes(table, grant.scopes, places);
    const { enough } = judged;
    const removable = grant.scopes.filter((scope) => !enough.includes(scope));
    const isPart = enough.every((scope) => grant.scopes.includes(scope));
    const provider = config.providers.get(grant.provider);
    const hint: Hint | null =
      removable.length === 0 || enough.length === 0
        ? null
        : isPart && renewedBy(sealed.credential) === 'refresh_token'
          ? grantRemedy('change', grant, { scopes: enough })
          : hintOf`${grantRemedy('revoke', grant)}; ${consentRemedy(grant, enough, provider, sealed.credential)}`;
    // Without a condition: the log may begin later than the grant.
    let from: number | null = null;
    for await (const { time: first } of eventQuery(config, { since }, { grants: [], at }).events()) {
      from = Date.parse(first);
      break;
    }
    return { ...judged, grant, table, from, places, removable, hint };
  },
  answer: ({ grant, table, from, places, hint, ...judged }, at) => ({
    id: grant.id,
    name: grant.name,
    table: table?.title ?? null,
    log: {
      from: isoOrNull(from),
      to: isoTime(at),
      requests: places.reduce((sum, { requests }) => sum + requests, 0),
    },
    scopes: [...grant.scopes],
    enough: [...judged.enough],
    removable: [...judged.removable],
    unjudged: [...judged.unjudged],
    smallest: judged.isSmallest,
    endpoints: places.map(({ host, name, requests, endpoint }) => ({
      host,
      endpoint: name,
      requests,
      known: endpoint !== null,
    })),
    ...(hint === null ? {} : hintAnswer(hint)),
  }),
});

/** Requests for one endpoint. */
interface SeenPlace extends Place {
  /** Name of the endpoint in the table, or the method and the path, with stars for IDs. */
  readonly name: string;
  requests: number;
  isRefused: boolean;
}

/** Maximum number of places. Further requests count as one of an unknown host, which keeps all scopes. */
const maxPlaces = 500;

/**
 * Counts requests with a credential. A program that read the token counts as a place that no table has,
 * because its requests are not in the log.
 */
async function placesIn(
  lines: AsyncIterable<AuditLine>,
  find: ReturnType<typeof endpointFinder>,
): Promise<readonly SeenPlace[]> {
  const places = new Map<string, SeenPlace>();
  const begun = new Map<string, SeenPlace>();
  for await (const { event, exchange = '', method = '', host = '', path = '', status } of lines) {
    const open = begun.get(exchange);
    if (event === 'outcome' && open !== undefined) {
      open.isRefused &&= status === 401 || status === 403;
      begun.delete(exchange);
    }
    const isRead = event === 'token.read';
    if (open !== undefined || !(isRead || event === 'access' || event === 'credential.added')) continue;
    const endpoint = isRead ? null : find({ method, host, path });
    const name = isRead ? readByProgram : (endpoint?.name ?? placeName(method, path));
    const isFull = places.size >= maxPlaces && !places.has(`${host} ${name}`);
    const fresh = isFull ? { host: '*', name: 'other places', endpoint: null } : { host, name, endpoint };
    const key = `${fresh.host} ${fresh.name}`;
    const place = places.get(key) ?? { ...fresh, requests: 0, isRefused: true };
    place.requests += 1;
    places.set(key, place);
    if (!isRead) begun.set(exchange, place);
  }
  return [...places.values()];
}

const readByProgram = 'a program that read the token';

function placeName(method: string, path: string): string {
  return `${method} ${path.split('/').map(idToStar).join('/')}`;
}
