/**
 * `ebb safekeeper replace` on a whole Ebb: all three, one after the other, while clients write; with the compute asleep;
 * and everything acknowledged is there after a kill of all.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { expect, test } from 'vitest';
import { startEbb, type Ebb } from '../support/ebb.ts';

const run = promisify(execFile);
const COMMAND = join(import.meta.dirname, '..', '..', 'local', 'bin', 'ebb.js');
const ebbCommand = async (ebb: Ebb, ...args: string[]): Promise<string> =>
  (await run(process.execPath, [COMMAND, ...args, '--dir', ebb.dir])).stdout.trim();

async function connected(ebb: Ebb): Promise<pg.Client> {
  const client = new pg.Client(ebb.postgresUrl);
  await client.connect();
  return client;
}

test(
  'every safekeeper of a timeline is replaced under load, and nothing acknowledged is lost',
  { retry: 0 },
  async () => {
    let ebb = await startEbb();
    try {
      const client = await connected(ebb);
      await client.query('CREATE TABLE rows (n int PRIMARY KEY)');
      expect(await ebbCommand(ebb, 'safekeeper', 'list')).toBe('generation 1: safekeepers 1 2 3');
      let written = 0;
      const writer = { stopped: false };
      const writing = (async () => {
        while (!writer.stopped) {
          await client.query('INSERT INTO rows VALUES ($1)', [written]);
          written++;
        }
      })();
      for (const [place, expected] of [
        [1, 'generation 3: safekeepers 2 3 4'],
        [2, 'generation 5: safekeepers 3 4 5'],
      ] as const) {
        const before = written;
        expect(await ebbCommand(ebb, 'safekeeper', 'replace', String(place))).toBe(expected);
        expect(written).toBeGreaterThan(before);
      }
      writer.stopped = true;
      await writing;
      await client.end();

      // Asleep: the replacement wakes the compute, which brings the new one up to date.
      await ebb.suspendContainers(['compute']);
      expect(await ebbCommand(ebb, 'safekeeper', 'replace', '3')).toBe('generation 7: safekeepers 4 5 6');
      await expect(ebbCommand(ebb, 'safekeeper', 'replace', '4')).rejects.toThrow(/place 4: 1, 2 or 3/);

      ebb.kill9();
      ebb = await ebb.restart();
      const after = await connected(ebb);
      const { rows } = await after.query('SELECT count(*)::int AS count, max(n) AS last FROM rows');
      expect(rows[0].count).toBeGreaterThanOrEqual(written);
      expect(rows[0].last).toBe(rows[0].count - 1);
      await after.query('INSERT INTO rows VALUES (-1)');
      await after.end();
      const listed = await ebbCommand(ebb, 'inspect', 'safekeepers');
      for (const n of [4, 5, 6]) expect(listed).toMatch(new RegExp(`^ *${n} `, 'm'));
    } finally {
      await ebb.stop();
    }
  },
);
