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
import { isoOrNull, isoTime } from './format.ts';
import { renewedBy } from './grant-answer.ts';
import { grantRemedy, pickOwnGrant } from './lookup.ts';
import { grantOwner, hintAnswer, remedies, text, time, timeOrNull } from './members.ts';
import { reading } from './operation.ts';
import { type Endpoint, endpointFinder, judgeScopes, scopeTables } from './scope-table.ts';

/** Scopes of a grant that its requests did not need. */

const texts = z.array(z.string());

export const compareScopes = reading({
  id: 'grant.scopes',
  summary: 'Compare the scopes of a grant with the endpoints in the audit log of this machine.',
  scope: 'audit:read',
  input: z.strictObject({ grant: text, user: grantOwner, since: auditConditions.since }),
  output: z
    .strictObject({
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
    })
    .meta({ id: 'GrantScopes' }),
  check: ({ since }, at) => checkConditions({ since }, at),
  async run({ caller, config, during, ...parts }, { grant: reference, user, since }, at) {
    const grants = await parts.grants();
    const { id } = pickOwnGrant(grants, { grant: reference, user }, caller);
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
    const query = eventQuery(config, { grant: id, since }, { grants, at });
    const found = await during('Reading the audit log', (onShare) => placesIn(query.events(onShare), find));
    const judged = table === null ? null : judgeScopes(table, grant.scopes, found);
    const { enough, unjudged, isSmallest } =
      judged === null || found.length === 0
        ? { enough: grant.scopes, unjudged: judged?.unjudged ?? grant.scopes, isSmallest: false }
        : judged;
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
    const [first] = await firstOf(eventQuery(config, { since }, { grants, at }).events());
    const from = first === undefined ? null : Date.parse(first.time);
    return { grant, table, from, found, enough, removable, unjudged, isSmallest, hint };
  },
  answer: ({ grant, table, from, found, hint, ...judged }, at) => ({
    id: grant.id,
    name: grant.name,
    table: table?.title ?? null,
    log: {
      from: isoOrNull(from),
      to: isoTime(at),
      requests: found.reduce((sum, { requests }) => sum + requests, 0),
    },
    scopes: [...grant.scopes],
    enough: [...judged.enough],
    removable: [...judged.removable],
    unjudged: [...judged.unjudged],
    smallest: judged.isSmallest,
    endpoints: found.map(({ host, name, requests, endpoint }) => ({
      host,
      endpoint: name,
      requests,
      known: endpoint !== null,
    })),
    ...(hint === null ? {} : hintAnswer(hint)),
  }),
});

async function firstOf<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  for await (const item of items) return [item];
  return [];
}

/** Requests for one endpoint. */
interface SeenPlace {
  readonly host: string;
  /** Name of the endpoint in the table, or the method and the path, with stars for IDs. */
  readonly name: string;
  readonly endpoint: Endpoint | null;
  requests: number;
}

/**
 * Counts requests with a credential, except those that the service refused: no scope helped them. A program
 * that read the token counts as a place that no table has, because its requests are not in the log.
 */
async function placesIn(
  lines: AsyncIterable<AuditLine>,
  find: ReturnType<typeof endpointFinder>,
): Promise<readonly SeenPlace[]> {
  const places = new Map<string, SeenPlace>();
  const begun = new Map<string, SeenPlace>();
  for await (const { event, exchange = '', method = '', host = '', path = '', status } of lines) {
    const access = begun.get(exchange);
    if (event === 'outcome') {
      if (access !== undefined && (status === 401 || status === 403)) access.requests -= 1;
      begun.delete(exchange);
    }
    const isRead = event === 'token.read';
    if (access !== undefined || !(isRead || event === 'access' || event === 'credential.added')) continue;
    const endpoint = isRead ? null : find({ method, host, path });
    const name = isRead ? readByProgram : (endpoint?.name ?? placeName(method, path));
    const place = places.get(`${host} ${name}`) ?? { host, name, endpoint, requests: 0 };
    place.requests += 1;
    places.set(`${host} ${name}`, place);
    if (!isRead) begun.set(exchange, place);
  }
  return [...places.values()].filter(({ requests }) => requests > 0);
}

const readByProgram = 'a program that read the token';

function placeName(method: string, path: string): string {
  return `${method} ${path.split('/').map(idToStar).join('/')}`;
}
