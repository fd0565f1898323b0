import { randomBytes } from 'node:crypto';
import { SidekeyError } from '../../errors.ts';
import { hashToken } from '../../proxy/agent.ts';
import { audited } from '../audited.ts';
import type { Context } from '../context.ts';
import { checkName } from '../names.ts';
import { proxyUrl } from '../proxy-url.ts';

/** 256 random bits: what the store keeps of it, a plain hash, cannot be tried out. The prefix is for secret scanners. */
function newToken(): string {
  return `sidekey_agent_${randomBytes(32).toString('base64url')}`;
}

/** `sidekey agent add`: the one time that the token is shown. */
export async function addAgent({ withState, output, now }: Context, name: string): Promise<void> {
  checkName('name of the agent', name);
  const token = newToken();
  const { listen, agents } = await withState(async ({ store, audit, config }) => {
    if ((await store.agents.get(name)) !== null) {
      throw new SidekeyError('already_exists', `There is an agent ${name} already.`, {
        hint: `its token cannot be shown again; for a new one: sidekey agent remove ${name}, then add it`,
      });
    }
    await audited(audit, { event: 'agent.added', agent: name }, () =>
      store.agents.insert({ name, tokenHash: hashToken(token), createdAt: now() }),
    );
    return config.proxy;
  });
  const url = proxyUrl(listen, `${name}:${token}`);
  output.result({ name, token, proxy_url: url }, `HTTPS_PROXY=${url}`);
  output.say(
    [
      `The token of ${name} is in that line, and is shown this once: the store keeps only its hash.`,
      ...(agents === 'optional'
        ? ['While proxy.agents is optional, callers on this machine may leave it out.']
        : []),
    ].join('\n'),
  );
}
