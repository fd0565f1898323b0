import { audited } from '../../audit/audited.ts';
import { SidekeyError } from '../../errors.ts';
import type { AgentRecord } from '../../store/rights.ts';
import type { Context } from '../context.ts';
import { checkName } from '../names.ts';
import { proxyUrl } from '../proxy-url.ts';
import { readEnd } from '../span.ts';
import { isoOrNull } from '../grant/clock-words.ts';
import { bindingReason, bindingsOf, bindingText, reachWarning, type BindOptions } from './bindings.ts';
import { newToken, usualTokenLabel } from './token.ts';

/** What a new agent is told. */
export interface AddOptions extends BindOptions {
  /** The user it acts for. */
  readonly for?: string;
  readonly agentLabel?: readonly string[];
  readonly tokenLabel?: string;
  readonly expires?: string;
}

/** `sidekey agent add`: the one time that the token is shown. */
export async function addAgent(
  { withState, output, now }: Context,
  name: string,
  options: AddOptions,
): Promise<void> {
  checkName('name of the agent', name);
  const agent = newAgent(name, options, now());
  const token = newToken(name, {
    label: options.tokenLabel ?? usualTokenLabel,
    expiresAt: options.expires === undefined ? null : readEnd('--expires', options.expires, now()),
    at: agent.createdAt,
  });
  const { listen, agents, bindings, grants } = await withState(async ({ store, audit, config, ...state }) => {
    if ((await store.agents.get(name)) !== null) {
      throw new SidekeyError('already_exists', `There is an agent ${name} already.`, {
        hint: `its token cannot be shown again; for a new one: sidekey agent rotate ${name}`,
      });
    }
    const known = await state.grants.list();
    const bound = bindingsOf(options, { grants: known, providers: config.providers.names });
    const event = { event: 'agent.added', agent: name, reason: bindingReason(bound) } as const;
    await audited(audit, event, () =>
      store.agents.insert(agent, { tokens: [token.record], bindings: bound }),
    );
    return { ...config.proxy, bindings: bound, grants: known };
  });
  const url = proxyUrl(listen, `${name}:${token.secret}`);
  const { expiresAt } = token.record;
  output.result(
    {
      name,
      token: token.secret,
      proxy_url: url,
      expires_at: isoOrNull(expiresAt),
      acts_for: agent.user,
      labels: agent.labels,
      bindings,
    },
    `HTTPS_PROXY=${url}`,
  );
  output.say(
    [
      `The token of ${name} is in that line, and is shown this once: the store keeps only its hash.`,
      ...(bindings.length === 0
        ? []
        : [`It reaches: ${bindings.map((it) => bindingText(it, grants)).join(', ')}.`]),
      ...reachWarning(name, bindings, grants),
      ...(agents === 'optional'
        ? ['While proxy.agents is optional, callers on this machine may leave it out.']
        : []),
    ].join('\n'),
  );
}

function newAgent(name: string, options: AddOptions, createdAt: number): AgentRecord {
  const { for: user = null, agentLabel: labels = [] } = options;
  if (user !== null) checkName('user', user);
  for (const label of labels) checkName('label', label);
  return { name, user, labels: [...new Set(labels)], disabledAt: null, createdAt };
}
