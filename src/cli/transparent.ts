import { execFileSync } from 'node:child_process';
import { inputInvalid, SidekeyError } from '../lib/errors.ts';
import { parsePort } from '../proxy/policy/authority.ts';
import type { Context } from './context.ts';

interface RulesOptions {
  readonly user?: string;
  readonly port?: readonly string[];
  readonly iptables?: boolean;
  readonly tproxy?: boolean;
}

/**
 * `sidekey transparent rules`: prints the rules that redirect this network namespace to the proxy. Applies
 * none.
 *
 * @throws SidekeyError `input_invalid`
 */
export async function printRules(context: Context, options: RulesOptions): Promise<void> {
  const { proxy } = await context.config();
  const { host, port: to } = proxy.listen;
  if (to === 0)
    throw new SidekeyError('input_invalid', 'The proxy listens on any port that is free.', {
      hint: 'set proxy.listen to an address with a port',
    });
  const ports = (options.port ?? ['80', '443']).map(readPort);
  const uid = userId(options.user, context.env);
  const rules = { to, ports, uid };
  if (options.tproxy === true && options.iptables === true)
    throw inputInvalid('The rules of --tproxy are for nft alone.', 'leave out --iptables');
  const text =
    options.tproxy === true
      ? tproxyRules(rules, host)
      : options.iptables === true
        ? iptablesRules(rules)
        : nftRules(rules);
  context.output.result({ rules: text }, text);
  if (uid === 0 && options.tproxy !== true)
    context.output.say(
      'Warning: programs of root are not redirected, because Sidekey runs as root.\n  → run Sidekey as a user of its own, and print the rules with --user NAME',
    );
  if (proxy.transparent === null)
    context.output.say(
      'The proxy does not accept redirected connections yet.\n  → sidekey start --transparent, or proxy.transparent: true',
    );
}

interface Rules {
  /** Port of the proxy. */
  readonly to: number;
  readonly ports: readonly number[];
  /** User of the proxy, whose own connections are not redirected. */
  readonly uid: number;
}

/** Returns rules for `nft -f`. They refuse QUIC, so that clients fall back to TCP. */
function nftRules({ to, ports, uid }: Rules): string {
  const list = `{ ${ports.join(', ')} }`;
  return [
    'table inet sidekey',
    'delete table inet sidekey',
    'table inet sidekey {',
    '  chain output {',
    '    type nat hook output priority -100; policy accept;',
    `    meta skuid ${uid} return`,
    '    ip daddr 127.0.0.0/8 return',
    '    ip6 daddr ::1 return',
    `    tcp dport ${list} redirect to :${to}`,
    '  }',
    '  chain quic {',
    '    type filter hook output priority filter; policy accept;',
    `    meta skuid ${uid} return`,
    `    udp dport ${list} reject`,
    '  }',
    '}',
  ].join('\n');
}

/** Mark of packets for Sidekey, and number of the routing table that delivers them here. */
const mark = '0x51de';
const table = 8377;

/**
 * Commands that hand over connections which this machine routes for others. The rest is dropped: else it
 * would bypass Sidekey. QUIC is dropped too, because this chain cannot reject.
 */
function tproxyRules({ to, ports }: Rules, host: string): string {
  const list = `{ ${ports.join(', ')} }`;
  const isIpv6 = host.includes(':');
  const isAny = host === '0.0.0.0' || host === '::';
  const place = isAny ? '' : isIpv6 ? `[${host}]` : host;
  const families = [...(isIpv6 && !isAny ? [] : ['ip']), ...(isIpv6 ? ['ip6'] : [])];
  return [
    ...['ip', 'ip -6'].flatMap((command) => [
      `while ${command} rule del fwmark ${mark} lookup ${table} 2>/dev/null; do :; done`,
      `${command} rule add fwmark ${mark} lookup ${table}`,
      `${command} route replace local default dev lo table ${table}`,
    ]),
    "nft -f - <<'RULES'",
    'table inet sidekey_routed',
    'delete table inet sidekey_routed',
    'table inet sidekey_routed {',
    '  chain prerouting {',
    '    type filter hook prerouting priority mangle; policy accept;',
    '    fib daddr type local return',
    ...families.map(
      (family) =>
        `    meta nfproto ${family === 'ip' ? 'ipv4' : 'ipv6'} tcp dport ${list} tproxy ${family} to ${place}:${to} meta mark set ${mark} accept`,
    ),
    `    tcp dport ${list} drop`,
    `    udp dport ${list} drop`,
    '  }',
    '}',
    'RULES',
  ].join('\n');
}

/** Returns iptables commands, for systems without nftables. */
function iptablesRules({ to, ports, uid }: Rules): string {
  const list = ports.join(',');
  return ['iptables', 'ip6tables']
    .flatMap((command) => [
      `${command} -w -t nat -N SIDEKEY`,
      `${command} -w -t nat -A SIDEKEY -m owner --uid-owner ${uid} -j RETURN`,
      `${command} -w -t nat -A SIDEKEY -d ${command === 'iptables' ? '127.0.0.0/8' : '::1/128'} -j RETURN`,
      `${command} -w -t nat -A SIDEKEY -p tcp -m multiport --dports ${list} -j REDIRECT --to-ports ${to}`,
      `${command} -w -t nat -A OUTPUT -p tcp -j SIDEKEY`,
      `${command} -w -A OUTPUT -p udp -m multiport --dports ${list} -m owner ! --uid-owner ${uid} -j REJECT`,
    ])
    .join('\n');
}

function readPort(text: string): number {
  const port = parsePort(text);
  if (port !== null) return port;
  throw new SidekeyError('input_invalid', `${text} is not a port.`, { hint: 'give numbers from 1 to 65535' });
}

/** @param name name or number of the user; absent: the caller of this command */
function userId(name: string | undefined, env: NodeJS.ProcessEnv): number {
  if (name === undefined) return process.getuid?.() ?? 0;
  if (/^[0-9]{1,10}$/.test(name)) return Number(name);
  try {
    return Number(execFileSync('id', ['-u', '--', name], { env, encoding: 'utf8', stdio: 'pipe' }));
  } catch (cause) {
    throw new SidekeyError('input_invalid', `There is no user ${name}.`, {
      hint: 'give the name or the number of the user that Sidekey runs as',
      cause,
    });
  }
}
