import { expect, test } from 'vitest';
import { decodeControlFile } from '../../../../lib/postgres/control-file.ts';
import { RM } from '../../../../lib/postgres/wal/facts.ts';
import { formatLsn } from '../../../../lib/postgres/lsn.ts';
import { buildBootManifest } from '../../../../lib/storage/state/boot-manifest.ts';
import { TimelineState } from '../../../../lib/storage/state/timeline-state.ts';
import { MemoryStore } from '../../../support/memory-store.ts';
import { IngestHarness, START, u32s } from '../../../support/ingest-harness.ts';

const createFork = (spcOid: number, dbOid: number, fork: number) => ({
  resourceManager: RM.SMGR,
  info: 0x10,
  main: u32s(spcOid, dbOid, 16_384, fork),
});

test('the manifest says what was there at its LSN, not at the head', async () => {
  const harness = await IngestHarness.create();
  await harness.ingest(createFork(1663, 5, 0));
  const view = harness.timeline.headView();
  await harness.ingest({ resourceManager: RM.DBASE, info: 0x20, main: u32s(5, 1, 1663) });

  const { manifest, blobs } = await buildBootManifest(view);
  expect(manifest).toMatchObject({
    lsn: formatLsn(view.lsn),
    previousLsn: '0/3000028',
    relations: [[1663, 5, 16_384, 0, 0]],
    slrus: [],
  });
  expect(manifest.directories).toEqual(
    expect.arrayContaining(['global', 'base/5', 'pg_wal', 'pg_xact', 'pg_multixact/members']),
  );
  const text = ([offset, length]: [number, number]) =>
    new TextDecoder().decode(blobs.subarray(offset, offset + length));
  expect(manifest.files.map(({ path }) => path)).toEqual([
    'PG_VERSION',
    'base/5/PG_VERSION',
    'base/5/pg_filenode.map',
  ]);
  expect(text(manifest.files[0].content)).toBe('18\n');
  expect(manifest.checkPoint[1]).toBe(88);
  const [at, length] = manifest.controlFile;
  expect(length).toBe(8192);
  const control = decodeControlFile(blobs.subarray(at, at + length));
  expect(manifest.systemIdentifier).toBe(control.systemIdentifier.toString());

  const after = (await buildBootManifest(harness.timeline.headView())).manifest;
  expect(after.directories).not.toContain('base/5');
  expect(after.relations).toEqual([]);
});

test('a tablespace is refused by its OID', async () => {
  const harness = await IngestHarness.create();
  await harness.ingest(createFork(16_500, 5, 0));
  await expect(buildBootManifest(harness.timeline.headView())).rejects.toThrow(
    'tablespace 16500 (database 5): Ebb keeps pg_default and pg_global only',
  );
});

test('a store without checkpoint fields is no timeline', async () => {
  const view = new MemoryStore().view(START);
  await expect(buildBootManifest(view)).rejects.toThrow('control file: nothing is stored');
  await expect(TimelineState.load(view)).rejects.toThrow('checkpoint fields: nothing is stored');
});
