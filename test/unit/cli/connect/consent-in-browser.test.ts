import { describe, expect, test } from 'vitest';
import { consentInBrowser, type ConsentRequest } from '../../../../src/cli/connect/browser/consent.ts';
import type { Context } from '../../../../src/cli/context.ts';
import { SidekeyError } from '../../../../src/lib/errors.ts';
import { visit } from '../../../support/connect-home.ts';
import { aProvider } from '../../../support/provider.ts';

const timeUp = new SidekeyError('consent_missing', 'The time is up.');

/** A consent that the test completes. */
function aConsent(options: ConsentRequest['options'] = {}, aborted?: AbortSignal) {
  const said: string[] = [];
  const output = {
    say: (text: string) => void said.push(text),
    note: (_value: unknown, text: string) => void said.push(text),
  };
  const line = Promise.withResolvers<string | null>();
  const lines = { isTerminal: false, next: () => line.promise, close: () => undefined };
  const context = { output, env: {}, now: Date.now, openLines: () => lines } as unknown as Context;
  const controller = new AbortController();
  const begun = Promise.withResolvers<string>();
  const finishing = Promise.withResolvers<void>();
  const end = Promise.withResolvers<string>();
  end.promise.catch(() => undefined);
  const result = consentInBrowser<string>(
    {
      context,
      provider: aProvider({ title: 'Acme' }),
      options: { browser: false, port: '0', ...options },
      signal: aborted ?? controller.signal,
    },
    {
      async begin(redirectUri) {
        begun.resolve(`${redirectUri}?state=s&code=c`);
        return { url: 'https://acme.test/authorize?state=s', state: 's', takesBareCode: true };
      },
      finish() {
        finishing.resolve();
        return end.promise;
      },
      page: (text) => ({ title: text, says: [] }),
    },
  );
  result.catch(() => undefined);
  return {
    said,
    result,
    line,
    abort: () => controller.abort(timeUp),
    callback: begun.promise,
    finishing,
    end,
  };
}

describe('the time limit of a consent', () => {
  test('ends the wait and closes the listener', async () => {
    const consent = aConsent();
    const callback = await consent.callback;
    consent.abort();
    await expect(consent.result).rejects.toBe(timeUp);
    await expect(visit(callback)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('does not interrupt the code exchange after a callback', async () => {
    const consent = aConsent();
    const page = visit(await consent.callback);
    await consent.finishing.promise;
    consent.abort();
    consent.end.resolve('Tokens are here');
    expect(await consent.result).toBe('Tokens are here');
    expect((await page).body).toContain('<h1>Tokens are here</h1>');
  });

  test('prints nothing if it has passed before the start', async () => {
    const consent = aConsent({}, AbortSignal.abort(timeUp));
    await expect(consent.result).rejects.toBe(timeUp);
    expect(consent.said).toEqual([]);
  });
});

describe('a failure after the callback', () => {
  test('is shown on the page as in the terminal', async () => {
    const consent = aConsent();
    const page = visit(await consent.callback);
    const failure = new SidekeyError('provider_refused', 'It said <no>.', { hint: 'try again' });
    consent.end.reject(failure);
    await expect(consent.result).rejects.toBe(failure);
    const { status, body } = await page;
    expect(status).toBe(400);
    expect(body).toContain('<h1>Acme is not connected</h1>\n<p>It said &lt;no&gt;.</p>\n<p>→ try again</p>');
  });

  test('is shown without its message if it is not a SidekeyError', async () => {
    const consent = aConsent();
    const page = visit(await consent.callback);
    consent.end.reject(new Error('secret-in-a-message'));
    await expect(consent.result).rejects.toThrow('secret-in-a-message');
    expect((await page).body).not.toContain('secret-in-a-message');
  });
});

test('the end of standard input does not cancel a callback that the browser delivered', async () => {
  const consent = aConsent({ paste: true });
  const page = visit(await consent.callback);
  await consent.finishing.promise;
  consent.line.resolve(null);
  await consent.line.promise;
  consent.end.resolve('Done');
  expect(await consent.result).toBe('Done');
  expect((await page).status).toBe(200);
});

test('a missing browser is reported, and the wait continues', async () => {
  const consent = aConsent({ browser: 'no-such-browser' });
  const callback = await consent.callback;
  const page = visit(callback);
  consent.end.resolve('Done');
  expect(await consent.result).toBe('Done');
  expect((await page).status).toBe(200);
  expect(consent.said.join('\n')).toContain(
    'If nothing opens, go to:\n\n  https://acme.test/authorize?state=s\n',
  );
});
