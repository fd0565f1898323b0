import type { Config } from '../config/config.ts';
import { displayName } from '../config/problem.ts';
import { machineFilesOf } from '../config/store-place.ts';
import { readRunning, runFileOf } from '../store/run-file.ts';
import { type Finding, finding } from './finding.ts';
import { counted, pagesUrl, proxyUrl } from './format.ts';
import type { Health, ProxyProbe } from './proxy-probe.ts';
import { remedy } from '../lib/hint.ts';

/** @param instance `instanceOf` the key; empty: there is none yet. Null: store or key unreadable */
export async function lookAtProxy(
  { file, admin, proxy, store, audit }: Config,
  instance: string | null,
  probe: ProxyProbe,
): Promise<Finding> {
  const { listen, authentication: agents } = proxy;
  const health: Health = listen.port === 0 ? { kind: 'unknown' } : await probe.health();
  const url = proxyUrl(listen);
  const facts = { listen, agents, health: health.kind };
  switch (health.kind) {
    case 'serving': {
      if (instance === null) {
        const text = `a Sidekey serves at ${url}; without the store and the key it is not known whether it is this one`;
        return { ...finding('proxy', text, { ...facts, health: 'unverified' }), ok: false };
      }
      if (health.instance !== instance) {
        const sentence = `Another Sidekey answers at ${url}: it has another store than ${displayName(file)} says.`;
        const hint = 'stop it, set proxy.listen to another port, or name its config file with --config';
        return finding('proxy', `another Sidekey serves at ${url}`, { ...facts, health: 'other' }, [
          { sentence, hint },
        ]);
      }
      const running = readRunning(runFileOf(machineFilesOf({ store, audit }), listen.port));
      const pages = pagesUrl(admin);
      const serving = `serving at ${url}${pages === null ? '' : `, pages at ${pages}`}`;
      if (running === null) return finding('proxy', serving, facts);
      const { pid, workers } = running;
      const text = `${serving}, pid ${pid} with ${counted(workers.length, 'worker')}`;
      return finding('proxy', text, { ...facts, pid, workers });
    }
    case 'unknown':
      return finding('proxy', 'not known: proxy.listen has port 0, so any that is free is taken', facts);
    case 'silent':
      return finding('proxy', `not running at ${url} (${health.why})`, facts, [
        { sentence: `No proxy answers at ${url}.`, hint: remedy('start') },
      ]);
    case 'stranger':
      return finding('proxy', `something else answers at ${url}`, facts, [
        {
          sentence: `What answers at ${url} is not Sidekey.`,
          hint: 'stop it, or set proxy.listen in the config file to another port',
        },
      ]);
  }
}
