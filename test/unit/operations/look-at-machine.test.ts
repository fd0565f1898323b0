import { describe, expect, it } from 'vitest';
import { upstreamsFound } from '../../../src/operations/look-at-machine.ts';
import { SidekeyError } from '../../../src/lib/errors.ts';
import { failures } from '../../../src/lib/failures.ts';

const hintFor = (error: SidekeyError) =>
  upstreamsFound([{ authority: 'a.test:443', status: null, clock: null, error }]).needs[0]?.hint;

describe('the check of upstreams', () => {
  it('names upstream.proxy when a host is unreachable', () => {
    expect(hintFor(new SidekeyError('upstream_unreachable', 'a.test:443 cannot be reached.'))).toContain(
      'upstream.proxy',
    );
  });

  it('does not blame the network for a fault of TLS', () => {
    expect(hintFor(new SidekeyError('upstream_tls', 'a.test:443 failed.'))).toBe(failures.upstream_tls.hint);
  });

  it('keeps the hint of the error', () => {
    const error = new SidekeyError('upstream_unreachable', 'No tunnel was opened.', {
      hint: 'ask the operator',
    });
    expect(hintFor(error)).toBe('ask the operator');
  });
});
