import { describe, expect, it } from 'vitest';
import { chooseAudience } from '../../../../src/operations/credential-entry.ts';
import type { Provider } from '../../../../src/domain/provider.ts';
import { aProvider } from '../../../support/provider.ts';

const provider = (audience: readonly string[]): Provider =>
  aProvider({ name: 'desk', title: 'Desk', audience });

describe('the audience of a new grant', () => {
  it('is the audience of the provider, unless hosts are named', () => {
    expect(chooseAudience(undefined, provider(['a.example.com']))).toEqual(['a.example.com']);
    expect(
      chooseAudience(
        ['B.example.com.', 'b.example.com', '*.c.example.com:8443'],
        provider(['a.example.com']),
      ),
    ).toEqual(['b.example.com', '*.c.example.com:8443']);
  });

  it('is required', () => {
    expect(() => chooseAudience(undefined, provider([]))).toThrow(
      expect.objectContaining({ code: 'input_invalid', hint: expect.stringContaining('--audience HOST') }),
    );
    for (const text of ['https://a/', '*.com', '', 'a b']) {
      expect(() => chooseAudience([text], provider([]))).toThrow(
        expect.objectContaining({ code: 'input_invalid' }),
      );
    }
  });
});
