import type { Binding } from '../../agents/lease.ts';
import { recordChange } from '../../audit/log.ts';
import {
  bindingReason,
  bindingsOf,
  bindingText,
  type BindOptions,
  namedBindings,
  reachWarning,
} from './bindings.ts';
import type { Context } from '../context.ts';
import { namedGrant, pickAgent, unknownAgent } from '../pick.ts';
import type { Grant } from '../../grants/grant.ts';
import { SidekeyError } from '../../lib/errors.ts';

/** `sidekey agent bind`: the agent reaches more. */
export async function bindAgent(
  { withState, output, now }: Context,
  name: string,
  options: BindOptions,
): Promise<void> {
  const { added, bindings, grants } = await withState(async ({ store, audit, config, ...state }) => {
    pickAgent(await store.agents.list(), name);
    const known = await state.grants.list();
    const wanted = bindingsOf(options, { grants: known, providers: config.providers.names });
    if (wanted.length === 0) throw saysNothing('bind');
    const event = { event: 'agent.bound', agent: name, reason: bindingReason(wanted) } as const;
    const count = await recordChange(audit, event, async () => {
      const answer = await store.bindings.add(name, wanted, now());
      if (answer === null) throw unknownAgent(name, []);
      return answer;
    });
    return { added: count, bindings: await store.bindings.list(name), grants: known };
  });
  output.result(
    { name, changed: added > 0, bindings: bindings.map(bindingJson) },
    `${name} reaches ${reachText(bindings, grants)}.${added === 0 ? ' That was so before.' : ''}`,
  );
  for (const line of reachWarning(name, bindings, grants)) output.say(line);
}

/** What `sidekey agent unbind` is told. */
export interface UnbindOptions extends BindOptions {
  /** Every binding there is. */
  readonly all?: boolean;
}

/** `sidekey agent unbind`: the agent reaches less, from its next request on, under its leases too. */
export async function unbindAgent(
  { withState, output }: Context,
  name: string,
  options: UnbindOptions,
): Promise<void> {
  const { removed, bindings, grants } = await withState(async ({ store, audit, ...state }) => {
    pickAgent(await store.agents.list(), name);
    const known = await state.grants.list();
    const before = await store.bindings.list(name);
    const bound = new Set(before.filter(({ kind }) => kind === 'grant').map(({ value }) => value));
    // A grant that was removed is known by its id alone.
    const named = namedBindings(options, (text) => (bound.has(text) ? text : namedGrant(known, text).id));
    const unwanted = options.all === true ? before : named;
    if (named.length === 0 && options.all !== true) throw saysNothing('unbind');
    const event = { event: 'agent.unbound', agent: name, reason: bindingReason(unwanted) } as const;
    const count = await recordChange(audit, event, () => store.bindings.remove(name, unwanted));
    return { removed: count, bindings: await store.bindings.list(name), grants: known };
  });
  output.result(
    { name, changed: removed > 0, bindings: bindings.map(bindingJson) },
    `${name} reaches ${reachText(bindings, grants)}.${removed === 0 ? ' Nothing of that was bound to it.' : ''}`,
  );
}

/** A binding for programs. */
export function bindingJson({ kind, value }: Binding): Binding {
  return { kind, value };
}

function reachText(bindings: readonly Binding[], grants: readonly Grant[]): string {
  return bindings.length === 0 ? 'nothing' : bindings.map((each) => bindingText(each, grants)).join(', ');
}

function saysNothing(command: string): SidekeyError {
  return new SidekeyError('input_invalid', 'The command does not say which grants are meant.', {
    hint: `sidekey agent ${command} NAME --grant GRANT | --provider PROVIDER | --user USER | --label LABEL | --everything`,
  });
}
