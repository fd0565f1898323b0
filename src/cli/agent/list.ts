import type { Context } from '../context.ts';
import { table } from '../table.ts';
import { dateTime, isoTime, relativeTime } from '../time.ts';

/** `sidekey agent list` */
export async function listAgents({ withView, output, now }: Context): Promise<void> {
  const agents = await withView(async ({ store }) => (await store?.agents.list()) ?? []);
  const at = now();
  output.result(
    agents.map(({ name, createdAt }) => ({ name, created_at: isoTime(createdAt) })),
    agents.length === 0
      ? 'There are no agents yet.'
      : table(
          ['NAME', 'CREATED'],
          agents.map(({ name, createdAt }) => [
            name,
            `${dateTime(createdAt)} (${relativeTime(createdAt, at)})`,
          ]),
        ),
  );
  if (agents.length === 0) output.say('  → sidekey agent add NAME');
}
