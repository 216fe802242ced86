/**
 * A pageserver process killed at every failpoint: whatever it had done, the next generation has every page as of every LSN,
 * and no safekeeper was told of more than storage holds. (Of the project that has the machine for itself: it starts processes.)
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { FAILPOINTS, type Failpoint } from '../../../../containers/pageserver/failpoints.ts';
import { FolderStorage } from '../../../../containers/pageserver/remote/folder.ts';
import { Timeline } from '../../../../containers/pageserver/timeline/timeline.ts';
import type { MemoryStore } from '../../../support/memory-store.ts';
import { expectSame, idle, someWal } from '../timeline/some-wal.ts';
import { FakeSafekeepers, modelOf, spec, START_LSN, testContext } from '../timeline/support.ts';
import { KILLED_SETTINGS, KILLED_WAL } from './killed-workload.ts';

const wal = someWal(...KILLED_WAL);
let model: MemoryStore;
beforeAll(async () => {
  model = await modelOf(wal);
});

/** Resolves to the signal that ended it, null when it did all of its work. */
async function run(folder: string, disk: string, generation: number, at: Failpoint, times: number) {
  const program = join(import.meta.dirname, 'pageserver-to-kill.ts');
  const args = [program, folder, join(folder, disk), `${generation}`, at, `${times}`];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  expect(code ?? 0, said).toBe(0);
  return signal;
}

async function expectAllPages(folder: string, generation: number, diskFolder: string): Promise<void> {
  const safekeepers = new FakeSafekeepers(wal);
  safekeepers.commit();
  const storage = new FolderStorage(join(folder, 'objects'));
  const context = testContext({
    storage,
    safekeepers,
    generation,
    settings: KILLED_SETTINGS,
    diskFolder: join(folder, diskFolder),
  });
  const next = await Timeline.attach(context, spec);
  try {
    const path = join(folder, 'reported');
    const reported = existsSync(path)
      ? readFileSync(path, 'utf8').trim().split('\n').map(Number)
      : [START_LSN];
    expect(next.ingestedLsn).toBeGreaterThanOrEqual(Math.max(...reported));
    for (const at of [START_LSN, wal.ends[40], wal.ends[110], wal.endLsn]) await expectSame(next, model, at);
    await idle(next);
    await expectSame(next, model, wal.endLsn);
    await next.stop();
    expect(context.errors).toEqual([]);
  } finally {
    next.abandon();
  }
}

const names = Object.keys(FAILPOINTS) as Failpoint[];
test.each(names)(
  '%s',
  async (name) => {
    const folder = mkdtempSync(join(tmpdir(), 'ebb-killed-'));
    try {
      // What only a pageserver that takes over meets is met by the second, on a disk that it finds empty.
      const first = await run(folder, 'disk', 1, name, 1);
      if (first === null) expect(await run(folder, 'empty', 2, name, 1), 'killed').toBe('SIGKILL');
      await expectAllPages(folder, 3, first === null ? 'empty' : 'disk');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  60_000,
);
