import { bodyText, fieldName, longestPath } from '../domain/approval.ts';
import { operationOf } from '../agents/approvals/operation.ts';
import type { ApprovalResult } from '../agents/approvals/queue.ts';
import { type RawFields, readText, trailerFields } from './http/fields.ts';
import { asBeginning, denialOf } from './http/problem.ts';
import { orThrow, SidekeyError } from '../lib/errors.ts';
import { hintOf, remedy } from '../lib/hint.ts';
import { untrusted } from '../lib/text.ts';
import { foreignInFields, type KnownForms } from './placeholders/foreign-forms.ts';
import { authorityText } from './policy/authority.ts';
import type { Decision } from './policy/decide.ts';
import { FieldNames, percentDecoded } from './policy/text.ts';
import { preparedFor } from './schemes/apply.ts';
import { schemeOf } from './schemes/placement.ts';
import { selectAdditionalGrants } from './also.ts';
import { evaluate, grantOf } from './authorize.ts';
import { type GrantDecision, isGranted, type ObtainedCredential, type Request } from './request.ts';

/**
 * If a rule asks a person, waits for the answer. The request is then judged again, by the config of that
 * moment.
 *
 * @throws SidekeyError `approval_denied`, `approval_missing`, `overloaded`, `rule_denied`;
 * `policy_violation`: the request is too long to be shown; `audit_unavailable`, `store_unavailable`
 */
export async function approve(request: Request): Promise<void> {
  if (request.decision.outcome !== 'approve' || !isGranted(request)) return;
  const { decision, caller, grant, also, config, redactedPath, credential } = request;
  const { reply, services, record, askedBody } = request;
  const mark = redactedPath.indexOf('?');
  const path = mark < 0 ? redactedPath : redactedPath.slice(0, mark);
  const query = mark < 0 ? null : shownQuery(redactedPath.slice(mark + 1), request);
  if (path.length > longestPath) throw tooLong('path', decision);
  if (query !== null && query.length > longestPath) throw tooLong('query', decision);
  const forms = { finder: config.credentialFinder(), codes: services.placeholders };
  // A WebSocket carries any number of messages that no person sees.
  const upgrade = request.facts.upgrades ? ['Upgrade: websocket'] : [];
  const fields = [...upgrade, ...shownFields(request, credential!, forms)];
  if (fields.join('').length > longestPath) throw tooLong('header', decision);
  // A person is not asked for a permission that has ended.
  orThrow(await caller.holds(grant, { mode: config.agents, used: false }));
  const { authority, method, reason, contentLength } = request.facts;
  const { rule, ruleName, approvalKey } = decision;
  const verdict = await services.approvals.ask(
    {
      exchange: record.exchange,
      who: {
        agent: caller.agent,
        lease: caller.lease?.id ?? null,
        grantId: grant.id,
        // A key of its own matches no approval that was given before.
        ruleKey: [
          [approvalKey ?? record.exchange, ...also.map(({ grant: { id } }) => id)].join(' '),
          ...fields.map(boundPart),
        ].join('\n'),
      },
      method,
      scheme: authority.scheme,
      authority: authorityText(authority),
      path,
      query,
      fields,
      operation: operationOf(method, authority.host, path, request.provider),
      bodyBytes: contentLength,
      grantName: [grant, ...also.map((each) => each.grant)].map(({ name }) => name).join(' and '),
      grantUser: grant.user,
      provider: grant.provider,
      client: request.inbound.client.address,
      reason: reason && readText(reason),
      purpose: caller.lease?.purpose ?? null,
      rule,
      ruleName,
    },
    reply.hold(),
    (question) => services.audit.append(record.asked(question, decision.reason)),
    askedBody === null ? null : shownBody(askedBody, request),
  );
  if (verdict.kind !== 'allowed') throw refusalOf(verdict, decision);
  record.approved(verdict.id);
  request.config = await services.config();
  setUnchanged(request, decision, await evaluate(request));
  request.also = [];
  if (request.grant.id !== grant.id) throw changed();
  const { also: entries } = request.decision;
  if (entries !== undefined) await selectAdditionalGrants(request, entries);
  if (idsOf(request.also) !== idsOf(also)) throw changed();
  request.approval = { id: verdict.id, standing: verdict.standing };
}

function idsOf(also: Request['also']): string {
  return also.map(({ grant }) => grant.id).join();
}

/** Sets the decision and the grant of now. The rules and grants may have changed while the request waited. */
function setUnchanged(request: Request, then: GrantDecision, now: Decision): void {
  if (now.outcome === 'deny') throw denialOf(now);
  if (now.outcome === 'tunnel') throw changed();
  if (now.outcome === 'approve' && now.approvalKey !== then.approvalKey) throw changed();
  request.decision = now;
  request.grant = grantOf(request, now);
}

function changed(): SidekeyError {
  return new SidekeyError('rule_denied', 'The request changed after it was approved.', {
    hint: 'send the request again',
  });
}

/** Returns the query without the value of the parameter that carries the credential. */
function shownQuery(query: string, { placement }: Request): string {
  const parameter =
    placement === null || placement instanceof SidekeyError
      ? undefined
      : schemeOf(placement).queryParameter?.(placement);
  if (parameter === undefined) return query;
  const name = parameter.toLowerCase();
  return query
    .split(/([&;])/)
    .map((pair) => {
      const [written = ''] = pair.split('=', 1);
      const isCarried = percentDecoded(written).trim().toLowerCase() === name;
      return isCarried && pair.includes('=') ? `${written}=…` : pair;
    })
    .join('');
}

/** Returns the body as a text without the value that the credential replaces; null: it cannot be shown. */
function shownBody(body: Buffer, { placement }: Request): string | null {
  if (placement === null || placement instanceof SidekeyError) return bodyText(body);
  return bodyText(schemeOf(placement).maskBody?.(body, placement) ?? body);
}

/** A person who sees only the beginning of a part cannot approve its end. */
function tooLong(part: 'path' | 'query' | 'header', { rule }: GrantDecision): SidekeyError {
  const sentence = `The request needs approval, and its ${part} has more than the ${longestPath} characters that a person can be shown.`;
  const hint = `send a shorter ${part}, or put a rule that allows it before ${rule}`;
  return new SidekeyError('policy_violation', sentence, { hint });
}

function refusalOf(
  verdict: Exclude<ApprovalResult, { kind: 'allowed' }>,
  { reason, rule }: GrantDecision,
): SidekeyError {
  switch (verdict.kind) {
    case 'denied':
      return new SidekeyError('approval_denied', 'A person denied this request.', {
        hint: `do not try again without asking them; ${rule} requires the approval`,
      });
    case 'unanswered':
      return new SidekeyError(
        'approval_missing',
        `${asBeginning(reason)}, and no one answered within ${verdict.waitedMs / 1_000} s.`,
        {
          hint: hintOf`run "${remedy('approval.answer')}" in a terminal, send the request again, and answer it there`,
        },
      );
    case 'gone':
      return new SidekeyError('approval_missing', 'The client left before anyone answered.', {
        hint: 'let the client wait longer than approvals.timeout',
      });
    case 'removed':
      return new SidekeyError(
        'approval_missing',
        'The agent, the lease or the grant of the request was removed before anyone answered.',
        {
          hint: hintOf`${remedy('agent.list')}; ${remedy('lease.list', { all: true })}; ${remedy('grant.list')}`,
        },
      );
    case 'stopping':
      return new SidekeyError('approval_missing', 'The proxy stopped before anyone answered.', {
        hint: 'send the request again when it runs',
      });
    case 'too_many':
      return new SidekeyError(
        'overloaded',
        `${verdict.maxPending} requests of this agent wait for approval already.`,
        { hint: hintOf`answer them ("${remedy('approval.answer')}"), or raise approvals.max_pending` },
      );
  }
}

/** Fields that are not shown: they frame the message, name the program, or choose a form of the response. */
const common = (
  'host content-length transfer-encoding te trailer user-agent accept accept-charset accept-encoding ' +
  'accept-language cache-control pragma priority traceparent tracestate sec-fetch-dest sec-fetch-mode ' +
  'sec-fetch-site sec-fetch-user sec-websocket-extensions sec-websocket-key sec-websocket-version'
).split(' ');

/** Fields that differ in each request: a standing approval holds for every value, as for hidden ones. */
const varying = /^(?:content-type|idempotency-key|if-(?:none-)?match|x-request-id):/i;

/** Content types of most APIs. */
const commonType = /^application\/(?:json|x-www-form-urlencoded)(?: *; *charset="?utf-8"?)?$/i;

/** Names of fields with secrets of the agent. */
const secret = /authoriz|cookie|credential|dpop|api-?key|password|secret|session|signature|token/i;

/** Returns `NAME: VALUE` of each uncommon field and trailer that is sent. Escapes deceptive characters. */
function shownFields(
  { fields, inbound: { trailers } }: Pick<Request, 'fields' | 'inbound'>,
  { token, placement, also }: ObtainedCredential,
  forms: KnownForms,
): readonly string[] {
  const others = also.map((each) => preparedFor(each.token.sealed, each.placement).additional);
  const replaced = [preparedFor(token.sealed, placement), ...others].flatMap((each) => [...each.replaced]);
  const unshown = new FieldNames([...common, ...replaced]);
  const linesOf = (part: RawFields, before: string): string[] =>
    part.flatMap((name, index) => {
      const value = part[index + 1] ?? '';
      const isCommon = unshown.has(name) || (name.toLowerCase() === 'content-type' && commonType.test(value));
      if (index % 2 === 1 || isCommon) return [];
      const isSecret = secret.test(name) || foreignInFields([name, value], forms).found.length > 0;
      return [`${before}${name}: ${isSecret ? '(hidden)' : untrusted(readText(value))}`];
    });
  return [...linesOf(fields, ''), ...linesOf(trailerFields(trailers?.() ?? []), '(trailer) ')];
}

/** Returns the part of a shown field that a request must share for a standing approval to apply. */
function boundPart(field: string): string {
  return varying.test(field) ? fieldName(field).toLowerCase() : field;
}
