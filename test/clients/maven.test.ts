import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startPackageProxy } from './support/package-proxy.ts';
import { missing } from './support/stage.ts';

const project = (content: string) =>
  `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>${content}<packaging>pom</packaging></project>`;
const parent = '<groupId>test.acme</groupId><artifactId>widgets</artifactId><version>1.0</version>';
const pom = project(`${parent}<properties><seen.by>the parent of acme</seen.by></properties>`);
const path = 'GET /test/acme/widgets/1.0/widgets-1.0.pom';

// Maven 3.9 has another transport, which asks for the properties of the JVM only where it is told to.
const mavens = {
  'Maven of the system': 'mvn',
  'Maven 3.9': process.env['SIDEKEY_TEST_MAVEN_39'] ?? 'mvn-3.9',
};

for (const [name, maven] of Object.entries(mavens)) {
  test.skipIf(missing(maven, '--version'))(
    `${name} fetches the parent of a project from a private repository without seeing the token`,
    { timeout: 120_000 },
    async () => {
      const { perform, room, upstream, seen, onlyWithCredential } = await startPackageProxy(
        { basic: 'ann' },
        ({ basic }) => basic('ann'),
        () => ({ [path]: pom, [`${path}.sha1`]: createHash('sha1').update(pom).digest('hex') }),
      );
      await mkdir(join(room, 'work'));
      const repository = `<repository><id>acme</id><url>${upstream.url}</url></repository>`;
      await writeFile(
        join(room, 'work', 'pom.xml'),
        project(
          `<parent>${parent}<relativePath/></parent><artifactId>work</artifactId><name>work of \${seen.by}</name><repositories>${repository}</repositories>`,
        ),
      );
      // For a project without code the first phase needs no plugin.
      const ran = await perform([maven, '--batch-mode', '--no-transfer-progress', 'validate'], {
        cwd: 'work',
        // Maven asks the system for the home folder, and not the environment.
        env: { MAVEN_OPTS: `-Duser.home=${room}` },
      });
      expect(ran).toMatchObject({ exit: 0, stdout: expect.stringContaining('work of the parent of acme') });
      expect(ran.lookedInto).toContainEqual(expect.stringContaining('maven'));
      expect(seen.map(({ path: asked }) => `GET ${asked}`)).toEqual([path, `${path}.sha1`]);
      onlyWithCredential();
    },
  );
}
