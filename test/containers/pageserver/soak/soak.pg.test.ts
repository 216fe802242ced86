/**
 * `npm run soak` is this file with more time (`EBB_SOAK_MINUTES`); `EBB_SOAK_SEED` repeats the choices of a run, though not what
 * Postgres makes of them.
 */
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { runJob } from '../../../../containers/pageserver/maintenance/run-job.ts';
import type { Lsn } from '../../../../lib/postgres/lsn.ts';
import { LayerMap } from '../../../../lib/storage/layers/layer-map.ts';
import { MergeCursor } from '../../../../lib/storage/layers/merge.ts';
import { replayed, soak, type SoakReport } from './soak.ts';

const minutes = Number(process.env['EBB_SOAK_MINUTES'] ?? 0);
const seed = Number(process.env['EBB_SOAK_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const endsAt = Date.now() + minutes * 60_000;

let report: SoakReport | undefined;
afterAll(() => report?.world.close());
afterEach(() => vi.restoreAllMocks());

test(
  `random SQL on branches, with kills and faults (seed ${seed})`,
  { timeout: (minutes + 3) * 60_000 },
  async () => {
    report = await soak({
      seed,
      // Chances may be such that little comes of three phases: it ends when there was something to be sure of.
      goesOn: (phase, { events }) =>
        phase < 3 || Date.now() < endsAt || (phase < 10 && (events.get('compacted') ?? 0) < 30),
      statements: minutes > 0 ? 60 : 40,
      branchesMax: minutes > 0 ? 6 : 3,
      faults: 0.02,
      log: (line) => console.log(line),
    });
    expect(report.differences).toEqual([]);
    expect(report.world.errors).toEqual([]);
    expect(report.world.branches.length).toBeGreaterThan(1);
    expect(report.refusals).toBeGreaterThan(0);
    expect(report.world.events.get('garbage collected')).toBeGreaterThan(3);
    expect(report.world.events.get('compacted')).toBeGreaterThan(10);
  },
);

describe('the same logs through a pageserver with', () => {
  test('nothing wrong', async () => {
    expect(await replayed(report!.world)).toEqual([]);
  });

  test('a collection that forgets what is retained', async () => {
    const needed = LayerMap.prototype.needed;
    vi.spyOn(LayerMap.prototype, 'needed').mockImplementation(function (this: LayerMap<never>, points) {
      return needed.call(this, points.slice(-1));
    });
    expect(await replayed(report!.world)).not.toEqual([]);
  });

  test('a compaction that loses a version now and then', async () => {
    const next = MergeCursor.prototype.next;
    let entries = 0;
    vi.spyOn(MergeCursor.prototype, 'next').mockImplementation(function (this: MergeCursor) {
      const found = next.call(this);
      return found === true && ++entries % 2_000 === 0 ? next.call(this) : found;
    });
    expect(await replayed(report!.world)).not.toEqual([]);
  });

  test('images of a little before the LSN that they name', async () => {
    const compaction = {
      run: (job: Parameters<typeof runJob>[0], signal: AbortSignal) =>
        runJob(
          job.kind === 'merge'
            ? job
            : {
                ...job,
                parts: job.parts.map(({ keys, inputs }) => ({
                  keys,
                  inputs: inputs.map((input) => ({
                    ...input,
                    upTo: Math.max(0, input.upTo - 20_000) as Lsn,
                  })),
                })),
              },
          signal,
        ),
    };
    expect(await replayed(report!.world, { compaction })).not.toEqual([]);
  });
});
