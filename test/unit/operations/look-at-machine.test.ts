import { describe, expect, it } from 'vitest';
import { upstreamsFound } from '../../../src/operations/look-at-machine.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';

const hintFor = (error: SidekeyError) =>
  upstreamsFound([{ authority: 'a.test:443', status: null, clock: null, error }]).needs[0]?.hint;

describe('the check of upstreams', () => {
  it('names upstream.proxy when a host is unreachable', () => {
    expect(hintFor(new SidekeyError('upstream_unreachable', 'a.test:443 cannot be reached.'))).toContain(
      'upstream.proxy',
    );
  });

  it('names upstream.ca when a certificate is not trusted', () => {
    expect(hintFor(new SidekeyError('upstream_tls', 'a.test:443 has another root.'))).toContain(
      'upstream.ca',
    );
  });

  it('keeps the hint of the error', () => {
    const error = new SidekeyError('upstream_unreachable', 'No tunnel was opened.', {
      hint: 'ask the operator',
    });
    expect(hintFor(error)).toBe('ask the operator');
  });
});
