/**
 * `sidekey transparent rules`: what it prints. The rules themselves work in test/scale/transparent.test.ts.
 */
import { expect, test } from 'vitest';
import { home } from '../../support/command-line.ts';

const rules = ['transparent', 'rules', '--user', '4711'];

test('the rules exempt the Sidekey user, and warn that the config does not accept connections yet', async () => {
  const at = await home({ proxy: { listen: '127.0.0.1:9999' } });
  const { stdout, stderr } = await at.run(rules);
  expect(stdout).toContain('meta skuid 4711 return\n');
  expect(stdout).toContain('tcp dport { 80, 443 } redirect to :9999\n');
  expect(stderr).toContain('→ sidekey start --transparent');
});

test('the iptables rules are commands for IPv4 and IPv6', async () => {
  const at = await home({ proxy: { listen: '127.0.0.1:9999', transparent: true } });
  const { stdout, stderr } = await at.run([...rules, '--iptables', '--port', '8443']);
  for (const command of ['iptables', 'ip6tables']) {
    expect(stdout).toContain(
      `${command} -w -t nat -A SIDEKEY -p tcp -m multiport --dports 8443 -j REDIRECT --to-ports 9999\n`,
    );
  }
  expect(stderr).toBe('');
});

test.each([
  [['--user', 'no-such-user'], 'There is no user no-such-user.'],
  [['--user', '1', '--port', '0'], '0 is not a port.'],
  [['--user', '1', '--port', 'https'], 'https is not a port.'],
])('the rules with %j are refused', async (options, why) => {
  const at = await home({ proxy: { listen: '127.0.0.1:9999' } });
  const { exit, stdout, stderr } = await at.run(['transparent', 'rules', ...options]);
  expect([exit, stdout, stderr]).toEqual([2, '', expect.stringContaining(why)]);
});

test('the rules for a router redirect what they do not drop', async () => {
  const at = await home({ proxy: { listen: '127.0.0.1:9999', transparent: true } });
  const { stdout, stderr } = await at.run(['transparent', 'rules', '--tproxy']);
  expect(stdout).toContain('tcp dport { 80, 443 } tproxy ip to 127.0.0.1:9999 meta mark set 0x51de accept\n');
  expect(stdout).toContain('    tcp dport { 80, 443 } drop\n');
  expect(stderr).toBe('');
  const both = await at.run(['transparent', 'rules', '--tproxy', '--iptables']);
  expect([both.exit, both.stdout]).toEqual([2, '']);
});

test('a proxy on a random port has no rules', async () => {
  const at = await home({ proxy: { listen: '127.0.0.1:0' } });
  const { exit, stderr } = await at.run(rules);
  expect([exit, stderr]).toEqual([2, expect.stringContaining('set proxy.listen to an address with a port')]);
});

test('a warning for the user root says that its programs are not redirected', async () => {
  const at = await home({ proxy: { listen: '127.0.0.1:9999', transparent: true } });
  const { stderr } = await at.run(['transparent', 'rules', '--user', '0']);
  expect(stderr).toContain('programs of root are not redirected');
});
