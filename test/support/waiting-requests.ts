/** A home with pending approvals and no running proxy: the approvals are put into the store. */
import { readFile } from 'node:fs/promises';
import { onTestFinished } from 'vitest';
import type { Question } from '../../src/domain/approval.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store } from '../../src/store/store.ts';
import { home, type Home } from './command-line.ts';
import { question } from './question.ts';

export interface HomeWithApprovals {
  readonly at: Home;
  readonly store: Store;
  /** The agent `ci`, with and without its lease, and a local caller; all with the grant `work`. */
  readonly who: Readonly<Record<'leased' | 'agent' | 'local', Question['who']>>;
  /** Puts a pending approval into the store; by default of the agent without its lease. */
  readonly ask: (fields?: Partial<Question>) => Promise<Question>;
  /** The approval events in the audit file. */
  readonly events: () => Promise<readonly Readonly<Record<string, unknown>>[]>;
}

export async function homeWithApprovals(): Promise<HomeWithApprovals> {
  const at = await home();
  await at.grant('work', { type: 'api_key', value: 'key-secret-0123456789' });
  await at.run(['agent', 'create', 'ci', '--grant', 'work']);
  const leaseArgs = ['--agent', 'ci', '--grant', 'work', '--purpose', 'nightly report'];
  const lease = (await at.json(['lease', 'create', ...leaseArgs])) as { id: string };
  const store = await openSqliteStore(at.at('data', 'sidekey.db'), { now: Date.now });
  onTestFinished(() => store.close());
  const [grant] = await store.grants.find({});
  const agent = { agent: 'ci', lease: null, grantId: grant?.id ?? '', ruleKey: 'rule-1' };
  const who = { agent, leased: { ...agent, lease: lease.id }, local: { ...agent, agent: null } };
  return {
    at,
    store,
    who,
    async ask(fields = {}) {
      const made = question({
        askedAt: Date.now(),
        who: agent,
        authority: 'helpdesk.acme.test:8443',
        path: '/tickets/7',
        grantName: 'work',
        provider: 'acme',
        ...fields,
      });
      await store.approvals.ask(made);
      return made;
    },
    async events() {
      const text = await readFile(at.at('data', 'audit.jsonl'), 'utf8');
      const lines = text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { event: string });
      return lines.filter(({ event }) => event.startsWith('approval.'));
    },
  };
}
