/** Layouts in which home, project and the files of Sidekey are nested, or below `/tmp`. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { attempts } from '../support/confinement/attempts.ts';
import { attack, makeWorld, type Mode, modes, type Places } from '../support/confinement/world.ts';

const layouts: readonly (readonly [what: string, places: Places])[] = [
  ['everything is below /tmp', { isTemporary: true }],
  ['Sidekey’s folder is in the project', { sidekey: 'project/.sidekey' }],
  ['Sidekey’s folder is the project', { sidekey: 'project' }],
  ['Sidekey’s folder is the home', { sidekey: 'home' }],
  ['Sidekey’s folder is the one above the project', { sidekey: 'work', project: 'work/project' }],
  ['the project is in home', { project: 'home/code/project' }],
  ['the project is in a hidden folder', { project: 'home/snap/project' }],
  ['the project is in the folder of Sidekey', { sidekey: 'sidekey', project: 'sidekey/data/project' }],
  ['Sidekey’s key is in the project itself', { sidekey: 'sidekey', project: 'sidekey/data' }],
  ['home is the project', { project: 'home' }],
  ['a client secret is in the project', { clientSecret: 'project/secrets/client.secret' }],
  ['a client secret is at the top of the project', { clientSecret: 'project/client.secret' }],
];

/** Attempts on what no layout opens. */
const ofAllLayouts = /Sidekey|credential|a key of SSH|gh|profile|of home|socket|environment of|datagram/;

describe.each(Object.keys(modes) as Mode[])('confined by %s', (mode) => {
  test.skipIf(modes[mode] === null).each(layouts)(
    'no credential can be read or replaced where %s',
    async (_what, places) => {
      const world = await makeWorld(places);
      const config = readFileSync(world.config, 'utf8');
      const { results } = await attack(world, modes[mode]);
      expect(results['reach the proxy']).toBe('done');
      const tried = attempts.filter(
        ({ name, passes, harmless }) =>
          ofAllLayouts.test(name) &&
          harmless === undefined &&
          (mode === 'both' || passes?.[mode] === undefined),
      );
      const succeeded = tried.filter(({ name }) => results[name] === null).map(({ name }) => name);
      // The run has a /tmp for itself, which it may write.
      const isOutside = (name: string) => places.isTemporary !== true || !name.startsWith('write ');
      expect(succeeded.filter(isOutside)).toEqual([]);
      expect(readFileSync(world.config, 'utf8')).toBe(config);
    },
  );
});
