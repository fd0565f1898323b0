import { randomBytes, randomUUID } from 'node:crypto';
import { hashToken } from '../../agents/authentication.ts';
import { recordChange } from '../../audit/log.ts';
import { bindingReason, bindingsOf, bindingText, type BindOptions, reachWarning } from './bindings.ts';
import { tokenlessCallers } from '../../config/proxy.ts';
import type { Context } from '../context.ts';
import { checkName, isoOrNull, proxyUrl, readEnd, readSpan } from '../format.ts';
import { pickAgent, unknownAgent } from '../pick.ts';
import { SidekeyError } from '../../lib/errors.ts';
import type { AgentRecord, AgentTokenRecord } from '../../store/store.ts';

export interface CreateOptions extends BindOptions {
  /** User that the agent acts for. */
  readonly for?: string;
  readonly agentLabel?: readonly string[];
  readonly tokenLabel?: string;
  readonly expires?: string;
  /** False: no token, because an OIDC issuer gives the agent its tokens. */
  readonly token?: false;
}

/** `sidekey agent create`: prints the token, which cannot be retrieved later. */
export async function createAgent(
  { withState, output, now }: Context,
  name: string,
  options: CreateOptions,
): Promise<void> {
  checkName('name of the agent', name);
  const agent = newAgent(name, options, now());
  const token =
    options.token === false
      ? null
      : newToken(name, {
          label: options.tokenLabel ?? defaultTokenLabel,
          expiresAt: options.expires === undefined ? null : readEnd('--expires', options.expires, now()),
          at: agent.createdAt,
        });
  const { proxy, bindings, grants } = await withState(async ({ store, audit, config, ...state }) => {
    if ((await store.agents.get(name)) !== null) {
      throw new SidekeyError('already_exists', `The agent ${name} exists already.`, {
        hint: `its token cannot be shown again; for a new one: sidekey agent rotate ${name}`,
      });
    }
    const known = await state.grants.list();
    const bound = bindingsOf(options, { grants: known, providers: config.providers.names });
    const event = { event: 'agent.added', agent: name, reason: bindingReason(bound) } as const;
    await recordChange(audit, event, () =>
      store.agents.insert(agent, { tokens: token === null ? [] : [token.record], bindings: bound }),
    );
    return { proxy: config.proxy, bindings: bound, grants: known };
  });
  const tokenless = tokenlessCallers(proxy);
  const url = proxyUrl(proxy.listen, `${name}:${token?.secret ?? 'TOKEN'}`);
  output.result(
    {
      name,
      token: token?.secret ?? null,
      proxy_url: token === null ? null : url,
      expires_at: isoOrNull(token?.record.expiresAt ?? null),
      acts_for: agent.user,
      labels: agent.labels,
      bindings,
    },
    `HTTPS_PROXY=${url}`,
  );
  output.say(
    [
      token === null
        ? `TOKEN is a token that an issuer of agent_issuers gives ${name}. With a client certificate (proxy.tls), leave ${name}:TOKEN@ out.`
        : `Copy the token of ${name} from that line now: it is shown only once.`,
      ...(bindings.length === 0
        ? []
        : [`It reaches: ${bindings.map((it) => bindingText(it, grants)).join(', ')}.`]),
      ...reachWarning(name, bindings, grants),
      ...(proxy.tls === null
        ? []
        : ['On other machines: https, and a name of the certificate of proxy.tls as the host.']),
      ...(tokenless === null ? [] : [`While proxy.authentication is optional, ${tokenless} need no token.`]),
    ].join('\n'),
  );
}

function newAgent(name: string, options: CreateOptions, createdAt: number): AgentRecord {
  const { for: user = null, agentLabel: labels = [] } = options;
  if (user !== null) checkName('user', user);
  for (const label of labels) checkName('label', label);
  return { name, user, labels: [...new Set(labels)], disabledAt: null, createdAt };
}

export interface RotateOptions {
  readonly tokenLabel?: string;
  /** Replaces all tokens, regardless of their labels. */
  readonly all?: boolean;
  readonly overlap?: string;
  readonly expires?: string;
}

/** Milliseconds after which an ended token is deleted. */
const forgetAfterMs = 90 * 86_400_000;

/**
 * `sidekey agent rotate`: replaces the tokens with the same label by a new one, at once or after an overlap.
 * A token with a new label replaces none.
 */
export async function rotateAgent(
  { withState, output, now }: Context,
  name: string,
  { tokenLabel, all = false, overlap, expires }: RotateOptions,
): Promise<void> {
  const at = now();
  const overlapMs = overlap === undefined ? 0 : readSpan('--overlap', overlap);
  const expiresAt = expires === undefined ? null : readEnd('--expires', expires, at);
  const label = tokenLabel ?? defaultTokenLabel;
  const { token, ending, listen } = await withState(async ({ store, audit, config }) => {
    pickAgent(await store.agents.list(), name);
    const made = newToken(name, { label, expiresAt, at });
    const reason = `label ${label}${all ? ', instead of all' : ''}, overlap ${overlap ?? 'none'}`;
    const event = { event: 'agent.rotated', agent: name, reason } as const;
    const count = await recordChange(audit, event, async () => {
      const takeOver = { label: all ? null : label, at: at + overlapMs };
      const answer = await store.agentTokens.add(made.record, takeOver);
      if (answer === null) throw unknownAgent(name, []);
      return answer;
    });
    await store.agentTokens.removeEnded(at - forgetAfterMs);
    return { token: made.secret, ending: count, listen: config.proxy.listen };
  });
  const url = proxyUrl(listen, `${name}:${token}`);
  output.result(
    { name, token, proxy_url: url, label, expires_at: isoOrNull(expiresAt), replaced: ending },
    `HTTPS_PROXY=${url}`,
  );
  const old = ending === 1 ? 'The previous token' : `The ${ending} previous tokens`;
  output.say(
    [
      `Copy the new token of ${name} from that line now: it is shown only once.`,
      ending === 0
        ? 'It replaces no other token.'
        : `${old} ${overlap === undefined ? 'ended' : `will end in ${overlap}`}.`,
    ].join('\n'),
  );
}

interface NewToken {
  readonly secret: string;
  readonly record: AgentTokenRecord;
}

const defaultTokenLabel = 'main';

/**
 * Returns a secret of 256 random bits, so that its plain hash in the store resists guessing. The prefix is
 * for secret scanners.
 * @param purpose owner: an agent or a lease
 */
export function newSecret(purpose: 'agent' | 'lease'): string {
  return `sidekey_${purpose}_${randomBytes(32).toString('base64url')}`;
}

/** @throws SidekeyError `input_invalid` if the label is not valid */
export function newToken(
  agent: string,
  {
    label,
    expiresAt,
    at,
  }: { readonly label: string; readonly expiresAt: number | null; readonly at: number },
): NewToken {
  checkName('label of the token', label);
  if (label.startsWith('sidekey_')) {
    throw new SidekeyError('input_invalid', 'The label of the token is not valid.', {
      hint: 'name the purpose of the token, such as laptop; Sidekey makes the token itself',
    });
  }
  const secret = newSecret('agent');
  const record: AgentTokenRecord = {
    id: randomUUID(),
    agent,
    label,
    hash: hashToken(secret),
    createdAt: at,
    expiresAt,
    usedAt: null,
    revokedAt: null,
  };
  return { secret, record };
}
