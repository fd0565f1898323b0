import { expect, test, vi } from 'vitest';
import { GET as connect } from '../../../examples/sdk/redirect/app/connect/route.ts';
import { GET as connected } from '../../../examples/sdk/redirect/app/connected/route.ts';
import { signIn } from '../../../examples/sdk/redirect/sign-in.ts';
import { returned, startConnecting } from '../../support/connect-session.ts';

/** A visit of a user who has signed in. */
const visit = (url: string, user?: string) =>
  new Request(url, { headers: user === undefined ? {} : { cookie: signIn(user).split(';')[0] ?? '' } });

test('the server example sends its user to connect an account, and reads the result', async () => {
  const app = 'https://app.acme.test';
  const at = await startConnecting({ returnUrls: [`${app}/connected`] });
  vi.stubEnv('SIDEKEY_API_URL', at.url);
  vi.stubEnv('SIDEKEY_API_KEY', await at.key());
  try {
    expect((await connect(visit(`${app}/connect?provider=acme`))).status).toBe(401);
    const sent = await connect(visit(`${app}/connect?provider=acme`, 'alice'));
    expect(sent.status).toBe(303);
    const browser = at.browser();
    const back = returned(await browser.open(await browser.consent(sent.headers.get('location') ?? '')));
    expect(back.href.startsWith(`${app}/connected?`)).toBe(true);
    expect((await connected(visit(back.href))).status).toBe(401);
    expect((await connected(visit(back.href, 'bob'))).status).toBe(403);
    const shown = await connected(visit(back.href, 'alice'));
    expect(await shown.text()).toMatch(/^Connected: the grant [\da-f-]{36}\.$/);
    const early = await connect(visit(`${app}/connect?provider=acme`, 'alice'));
    const [, id = ''] = /\/connect\/(cs_[^.]+)\./.exec(early.headers.get('location') ?? '') ?? [];
    const waiting = await connected(visit(`${app}/connected?session=${id}`, 'alice'));
    expect([waiting.status, await waiting.text()]).toEqual([409, 'The session is pending.']);
  } finally {
    vi.unstubAllEnvs();
  }
});
