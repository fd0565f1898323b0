import { expect, test } from 'vitest';
import { egressOf, egressRefusal } from '../../../src/agents/egress.ts';
import type { Binding } from '../../../src/domain/lease.ts';

const toPypi = (bindings: readonly Binding[], ofLease?: readonly string[]) =>
  egressRefusal(
    { agent: 'ci', lease: null, egressNow: () => egressOf(bindings, ofLease) },
    { scheme: 'https', host: 'pypi.org', port: 443 },
  );
const egress = (value: string): Binding => ({ kind: 'egress', value });
const refused = expect.objectContaining({ code: 'domain_not_allowed' });

test.each([
  ['without a list', [], undefined, null],
  ['whose list has the host', [egress('pypi.org')], undefined, null],
  ['whose list has another host', [egress('npmjs.org')], undefined, refused],
  ['whose list is "none"', [egress('none')], undefined, refused],
  ['whose lease has "none"', [egress('pypi.org')], ['none'], refused],
  ['whose list has "none" and the host', [egress('none'), egress('pypi.org')], undefined, null],
])('an agent %s is allowed or refused', async (_what, bindings, ofLease, answer) => {
  expect(await toPypi(bindings, ofLease)).toEqual(answer);
});

test('the word "none" does not allow a host of that name', async () => {
  const to = { scheme: 'https', host: 'none', port: 443 } as const;
  const caller = { agent: 'ci', lease: null, egressNow: () => egressOf([egress('none')]) };
  expect(await egressRefusal(caller, to)).toEqual(refused);
});
