import { readFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { connect } from '../../../src/sdk/connect/connect.ts';

const source = new URL('../../../src/sdk/connect/connect.ts', import.meta.url);
const mostBytes = 5 * 1_024;

test('the library for popups has at most 5 KB, both as served and as built', async () => {
  const served = stripTypeScriptTypes(await readFile(source, 'utf8'));
  await using bundle = await rolldown({ input: fileURLToPath(source), platform: 'browser' });
  const { output } = await bundle.generate({ minify: true });
  expect(output).toHaveLength(1);
  for (const code of [served, output[0].code]) {
    expect(Buffer.byteLength(code)).toBeLessThanOrEqual(mostBytes);
    expect(code).not.toMatch(/^\s*import\b/m);
  }
});

/** Calls `connect` in a page without a browser; `blocked`: the browser opens no popup. */
function opened({ blocked = false } = {}) {
  const token = Promise.withResolvers<string>();
  const popup = { closed: false, close: () => void (popup.closed = true), location: { assign: vi.fn() } };
  const page = {
    open: vi.fn(() => (blocked ? null : popup)),
    location: { assign: vi.fn() },
    addEventListener() {},
    removeEventListener() {},
  };
  vi.stubGlobal('window', page);
  const onError = vi.fn();
  const sessionToken = () => token.promise;
  const opener = connect({ sessionToken, baseUrl: 'https://sidekey.test/', onError });
  onTestFinished(() => (opener.close(), void vi.unstubAllGlobals()));
  return { ...token, popup, page, onError, opener };
}

describe('connect with a function that gets the token', () => {
  const address = 'https://sidekey.test/connect/cs_1.secret';

  test('opens an empty popup at once, and the session when the token is there', async () => {
    const { page, popup, resolve, promise } = opened();
    expect(page.open).toHaveBeenCalledExactlyOnceWith('about:blank', '', expect.any(String));
    resolve('cs_1.secret');
    await promise;
    expect(popup.location.assign).toHaveBeenCalledExactlyOnceWith(address);
    expect(page.location.assign).not.toHaveBeenCalled();
  });

  test('opens the session in the page if the popup is blocked', async () => {
    const { page, resolve, promise } = opened({ blocked: true });
    resolve('cs_1.secret');
    await promise;
    expect(page.location.assign).toHaveBeenCalledExactlyOnceWith(address);
  });

  test('closes the popup and reports a failure if there is no token', async () => {
    const { popup, reject, onError } = opened();
    reject(new Error('no server'));
    await vi.waitFor(() => expect(onError).toHaveBeenCalled());
    const failure = { session: '', code: 'unreachable', detail: 'Error: no server', signature: '' };
    expect(onError).toHaveBeenCalledExactlyOnceWith(failure);
    expect(popup.closed).toBe(true);
  });

  test.each(['resolved', 'rejected'])('does nothing with a token that is %s after close', async (how) => {
    const { popup, opener, resolve, reject, promise, onError } = opened();
    opener.close();
    if (how === 'resolved') resolve('cs_1.secret');
    else reject(new Error('no server'));
    await promise.catch(() => undefined);
    expect(popup.location.assign).not.toHaveBeenCalled();
    expect(onError).not.toHaveBeenCalled();
  });
});
