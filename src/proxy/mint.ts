import type { Grant } from '../domain/grant.ts';
import { SidekeyError } from '../lib/errors.ts';
import { accessKeyForm } from './placeholders/codes.ts';
import { holdersOf } from './placeholders/detect.ts';
import { formOf, mayMint } from './mint-answer.ts';
import type { Mints } from './mint-reply.ts';
import type { MintRow } from './policy/domain-map.ts';
import { bringsOwn, isGranted, type Request } from './request.ts';
import { secretPlaceholder } from './schemes/sigv4/eks.ts';

/**
 * Returns the rows for the answer to a request; undefined: none match. A credential that the client brings
 * itself hands out nothing that the client could not get without Sidekey.
 *
 * @throws SidekeyError `policy_violation`: the request asks to switch protocols
 */
export function mintsOf(request: Request): Mints | undefined {
  const { provider, facts, fieldFacts, inbound, caller, services, record, also, config } = request;
  if (!isGranted(request) || bringsOwn(request)) return undefined;
  const { grant, decision } = request;
  if (also.length === 0 && decision.mints === undefined && !config.hasMints(grant.provider)) return undefined;
  const parents = new Map([
    ...also.flatMap((each) => rowsBelow(each.grant, config.provider(each.grant.provider)?.mints)),
    ...rowsBelow(grant, provider?.mints),
    ...rowsBelow(grant, decision.mints),
  ]);
  const rows = [...parents.keys()].filter((row) => mayMint(row, facts, inbound.head.fields));
  if (rows.length === 0) return undefined;
  if (facts.upgrades || facts.protocols !== undefined || fieldFacts.asksForWebSocket)
    throw new SidekeyError(
      'policy_violation',
      'No protocol can be switched to where credentials are handed out.',
    );
  const holder = holdersOf(caller)[0]!;
  return {
    rows,
    now: services.now,
    async keep({ row, value, username, keys, expiresAt, host, written }) {
      const minted = await services.mint.keep({
        parent: parents.get(row)!,
        mint: row.name,
        secret: keys ?? (username === null ? value : { username, password: value }),
        expiresAt,
        maxMs: row.maxMs,
        audience: host === null ? row.goesTo : [host],
        isRevocable: row.isRevoked,
        lease: caller.lease,
        by: record.caller(),
      });
      const code = services.placeholders.make(formOf({ row, written }), holder, minted.grant.id);
      const placeholder = username === null ? code : Buffer.from(`${username}:${code}`).toString('base64');
      const placeholders = new Map([[written, keys === null ? placeholder : secretPlaceholder]]);
      if (keys !== null)
        placeholders
          .set(keys.sessionToken, code)
          .set(keys.accessKeyId, services.placeholders.make(accessKeyForm, holder, minted.grant.id));
      return { ...minted, placeholders };
    },
    forget: services.mint.forget,
    answering: services.mint.answering,
  };
}

const rowsBelow = (grant: Grant, rows: readonly MintRow[] = []) => rows.map((row) => [row, grant] as const);
