import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { parseConfig as parseConfigOf } from '../../../../src/config/load.ts';
import type { applyScheme as applySchemeOf } from '../../../../src/proxy/schemes/apply.ts';
import type { schemeOf as schemeOfPlacement } from '../../../../src/proxy/schemes/placement.ts';

const list = '../../../../src/proxy/schemes/list.ts';

let parseConfig: typeof parseConfigOf;
let applyScheme: typeof applySchemeOf;
let schemeOf: typeof schemeOfPlacement;
let carriedAs: (placement: { kind: string }) => string;
let providerAnswer: (provider: never) => Readonly<Record<string, unknown>>;

// Adds one file (demo-scheme.ts) and one line of the list to the unchanged program.
beforeAll(async () => {
  vi.resetModules();
  vi.doMock(list, async (original) => {
    const { demo } = await import('./demo-scheme.ts');
    const { schemes } = await original<{ schemes: readonly unknown[] }>();
    return { schemes: [...schemes, demo] };
  });
  ({ parseConfig } = await import('../../../../src/config/load.ts'));
  ({ applyScheme } = await import('../../../../src/proxy/schemes/apply.ts'));
  ({ carriedAs, schemeOf } = await import('../../../../src/proxy/schemes/placement.ts'));
  ({ providerAnswer } = await import('../../../../src/operations/provider.ts'));
});

afterAll(() => {
  vi.doUnmock(list);
  vi.resetModules();
});

async function provider(definition: object) {
  const corp = { audience: ['api.corp.test'], ...definition };
  const text = JSON.stringify({ version: 1, providers: { corp } });
  const { providers } = await parseConfig(text, '/x/sidekey.yaml', { env: {}, cwd: '/x' });
  return providers.get('corp')!;
}

const placement = { kind: 'x-demo', name: 'X-Demo' };
const authority = { scheme: 'https', host: 'api.corp.test', port: 443 } as const;

describe('a scheme with one file and one line in the list', () => {
  test('is read from inject, for all places and for one', async () => {
    const everywhere = await provider({ inject: { 'x-demo': 'X-Demo' } });
    expect(everywhere.inject).toEqual([{ hosts: null, paths: null, as: placement }]);
    const { inject } = await provider({ inject: [{ paths: ['/v1/**'], as: { 'x-demo': 'X-Demo' } }] });
    expect(inject).toEqual([{ hosts: null, paths: ['/v1/**'], as: placement }]);
  });

  test('is checked by its own schema, and named in messages', async () => {
    await expect(provider({ inject: { 'x-demo': 'no name' } })).rejects.toThrow(
      'is not a name of a header field',
    );
    await expect(provider({ inject: 3 })).rejects.toThrow('{ x-demo: NAME }');
  });

  test('refuses a provider whose credential type it does not accept', async () => {
    const pair = {
      label: 'key',
      parts: { id: { label: 'id' }, secret: { label: 'secret' } },
      inject: { basic: { username: '{id}', password: '{secret}' } },
    };
    await expect(provider({ inject: { 'x-demo': 'X-Demo' }, token: pair })).rejects.toThrow('one value');
  });

  test('has text for explain and provider show', async () => {
    expect(carriedAs(placement)).toBe('X-Demo: … and the hash of the body');
    const shown = providerAnswer((await provider({ inject: { 'x-demo': 'X-Demo' } })) as never);
    expect(shown['inject']).toEqual({ 'x-demo': 'X-Demo' });
  });

  test('declares the body access that it needs', () => {
    const request = { authority, method: 'POST', path: '/', fields: [], hasBody: true };
    expect(schemeOf(placement).needs?.(request, placement)).toMatchObject({ of: 'whole' });
    expect(schemeOf(placement).needs?.({ ...request, hasBody: false }, placement)).toBeNull();
  });

  test('writes into a request, and its secrets are guarded', () => {
    const applied = applyScheme(
      { path: '/', fields: ['Host', 'api.corp.test', 'x-demo', 'mine', 'Authorization', 'Bearer mine'] },
      {
        sealed: { credential: { type: 'api_key', value: 'abc' }, audience: ['api.corp.test'] },
        placement,
        authority,
        facts: {
          method: 'POST',
          hasBody: true,
          bodyHash: null,
          body: Buffer.from(''),
          now: 0,
          chunkBytes: 0,
        },
      },
    );
    const hash = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
    expect(applied.fields).toEqual(['Host', 'api.corp.test', 'X-Demo', `cba ${hash}`]);
    expect(applied.secrets).toEqual({ texts: ['cba'] });
    expect([...applied.carriedIn!]).toEqual(['authorization', 'x-demo']);
  });
});
