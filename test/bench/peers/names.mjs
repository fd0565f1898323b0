// The bench's made-up hosts are on this machine: the look-up says so, as a hosts file would.
import dns from 'node:dns';

const lookup = dns.lookup;
dns.lookup = (host, options, callback) => {
  const done = callback ?? options;
  const isAll = typeof options === 'object' && options?.all === true;
  if (!host.endsWith('.bench.test')) return lookup(host, options, callback);
  queueMicrotask(() =>
    isAll ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4),
  );
};
