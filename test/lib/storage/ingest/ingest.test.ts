/** What each kind of record does, beside what the ground-truth test sees a real Postgres write. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RM } from '../../../../lib/postgres/wal/facts.ts';
import { IngestError } from '../../../../lib/storage/ingest/ingest.ts';
import {
  COMMIT_TIME_KEY,
  CHECKPOINT_KEY,
  relationMapKey,
  relationPageKey,
  relationSizeKey,
  slruPageKey,
  slruSegmentKey,
} from '../../../../lib/storage/key.ts';
import { xidStatus } from '../../../../lib/postgres/slru/clog.ts';
import { decodeTimestamp, imageValue, sizeValue } from '../../../../lib/storage/value.ts';
import { IngestHarness, join, START, u32s, u64 } from '../../../support/ingest-harness.ts';
import type { WrittenBlock } from '../../../support/wal-writer.ts';

const RELATION: [number, number, number] = [1663, 5, 16_384];
const FORK = { spcOid: 1663, dbOid: 5, relNumber: 16_384 };
const block = (number: number, more: Partial<WrittenBlock> = {}): WrittenBlock => ({
  id: 0,
  relation: RELATION,
  block: number,
  ...more,
});
/** A page with a header, so that redo does not take it for a new one. */
const page = (): Uint8Array => {
  const bytes = new Uint8Array(8192);
  new DataView(bytes.buffer).setUint32(12, 0x2000_0018, true);
  return bytes;
};
const heapInsert = (number: number, flags = 0, blocks = [block(number, { willInit: false })]) => ({
  resourceManager: RM.HEAP,
  main: Uint8Array.of(1, 0, flags),
  blocks,
});

describe('blocks', () => {
  test('the first record of a block starts its chain, a later one does not', async () => {
    const harness = await IngestHarness.create();
    expect(await harness.ingest(heapInsert(0))).toEqual([
      'relation 1663/5/16384 main block 0: recordFromZero',
      'relation 1663/5/16384 main size: 1',
    ]);
    expect(await harness.ingest(heapInsert(0))).toEqual(['relation 1663/5/16384 main block 0: record']);
    expect(await harness.ingest(heapInsert(0, 0, [block(0, { willInit: true })]))).toEqual([
      'relation 1663/5/16384 main block 0: recordFromZero',
    ]);
  });

  test('of two new blocks the lower one is no gap, in whatever order the record names them', async () => {
    const harness = await IngestHarness.create();
    const blocks = [block(2), block(1, { id: 1 })];
    expect(await harness.ingest({ resourceManager: 200, blocks })).toEqual([
      'relation 1663/5/16384 main block 0: new zero',
      'relation 1663/5/16384 main block 1: recordFromZero',
      'relation 1663/5/16384 main block 2: recordFromZero',
      'relation 1663/5/16384 main size: 3',
    ]);
  });

  test('an image that is to be restored is stored as a page, one to compare with is not', async () => {
    const harness = await IngestHarness.create();
    const image = { page: page(), apply: true };
    expect(await harness.ingest(heapInsert(1, 0, [block(1, { image })]))).toEqual([
      'relation 1663/5/16384 main block 0: new zero',
      'relation 1663/5/16384 main block 1: image',
      'relation 1663/5/16384 main size: 2',
    ]);
    const stored = harness.content(relationPageKey({ ...FORK, fork: 0 }, 1)) ?? new Uint8Array(0);
    expect(new DataView(stored.buffer, stored.byteOffset).getUint32(4, true)).toBe(harness.timeline.endLsn);
    const compared = { page: page(), apply: false };
    expect(await harness.ingest(heapInsert(1, 0, [block(1, { image: compared })]))).toEqual([
      'relation 1663/5/16384 main block 1: record',
    ]);
  });

  test('an image that cannot be restored is stored with its record, and reading it says why', async () => {
    const harness = await IngestHarness.create();
    const image = { page: page().subarray(0, 1000), apply: true, info: 0x08 };
    const fpi = { resourceManager: RM.XLOG, info: 0xb0, blocks: [block(0, { image })] };
    expect(await harness.ingest(fpi)).toEqual([
      'relation 1663/5/16384 main block 0: recordFromZero',
      'relation 1663/5/16384 main size: 1',
    ]);
    expect(() => harness.content(relationPageKey({ ...FORK, fork: 0 }, 0))).toThrow(
      /redo of XLOG\/FPI at .* an image compressed with lz4: only pglz and none are supported$/,
    );
  });

  test('XLOG_FPI_FOR_HINT without an image changes nothing', async () => {
    const harness = await IngestHarness.create();
    expect(await harness.ingest({ resourceManager: RM.XLOG, info: 0xa0, blocks: [block(4)] })).toEqual([]);
  });

  test('a resource manager that is not known has its records stored', async () => {
    const harness = await IngestHarness.create();
    expect(await harness.ingest({ resourceManager: 200, blocks: [block(0)] })).toEqual([
      'relation 1663/5/16384 main block 0: recordFromZero',
      'relation 1663/5/16384 main size: 1',
    ]);
  });

  test('the main fork of an unlogged relation follows its init fork', async () => {
    const harness = await IngestHarness.create();
    const create = { resourceManager: RM.SMGR, info: 0x10, main: u32s(...RELATION, 3) };
    expect(await harness.ingest(create)).toEqual([
      'relation 1663/5/16384 init size: 0',
      'relation 1663/5/16384 main size: 0',
    ]);
    const image = { page: page(), apply: true };
    const fpi = { resourceManager: RM.XLOG, info: 0xb0, blocks: [block(0, { fork: 3, image })] };
    expect(await harness.ingest(fpi)).toEqual([
      'relation 1663/5/16384 init block 0: image',
      'relation 1663/5/16384 main block 0: image',
      'relation 1663/5/16384 init size: 1',
      'relation 1663/5/16384 main size: 1',
    ]);
  });
});

describe('files', () => {
  test('truncation cuts the heap and its map, drops its free space map', async () => {
    const harness = await IngestHarness.create();
    for (const [fork, blocks] of [
      [0, 70_000],
      [1, 12],
      [2, 3],
    ]) {
      harness.timeline.state.files.load(relationSizeKey({ ...FORK, fork }), blocks);
    }
    for (const number of [0, 1, 2]) {
      harness.store.put(START, relationPageKey({ ...FORK, fork: 2 }, number), imageValue(page()));
    }
    const truncate = (blocks: number, flags: number) =>
      harness.ingest({ resourceManager: RM.SMGR, info: 0x20, main: u32s(blocks, ...RELATION, flags) });
    // 32,672 heap blocks to a page of the map.
    expect(await truncate(40_000, 7)).toEqual([
      'relation 1663/5/16384 vm block 1: visibilityTruncate {"heapBlocks":40000}',
      'relation 1663/5/16384 main size: 40000',
      'relation 1663/5/16384 fsm size: absent',
      'relation 1663/5/16384 vm size: 2',
    ]);
    expect(await truncate(32_672, 7)).toEqual([
      'relation 1663/5/16384 main size: 32672',
      'relation 1663/5/16384 vm size: 1',
    ]);
    expect(await truncate(50_000, 1)).toEqual([]);
  });

  test('a commit removes the files it names, an abort too; every fork goes', async () => {
    const harness = await IngestHarness.create();
    for (const fork of [0, 2]) harness.timeline.state.files.load(relationSizeKey({ ...FORK, fork }), 4);
    const drops = join(u64(0), u32s(1 << 2), u32s(1, ...RELATION));
    expect(await harness.ingest({ resourceManager: RM.XACT, info: 0x80, xid: 760, main: drops })).toEqual(
      [
        'pg_xact 0000 block 0: new xidStatus {"status":1,"indexes":[760]}',
        'commit time: image',
        'relation 1663/5/16384 main size: absent',
        'relation 1663/5/16384 vm size: absent',
        'pg_xact 0000 size: 1',
        'checkpoint fields: image',
      ].toSorted(byPage),
    );
    harness.timeline.state.files.load(relationSizeKey({ ...FORK, fork: 0 }), 0);
    const aborted = await harness.ingest({ resourceManager: RM.XACT, info: 0xa0, xid: 761, main: drops });
    expect(aborted).toContain('relation 1663/5/16384 main size: absent');
    expect(aborted).toContain('pg_xact 0000 block 0: xidStatus {"status":2,"indexes":[761]}');
  });

  test('a database goes with all that is in it', async () => {
    const harness = await IngestHarness.create();
    harness.timeline.state.files.load(relationSizeKey({ ...FORK, fork: 0 }), 4);
    harness.timeline.state.files.load(relationSizeKey({ ...FORK, dbOid: 6, fork: 0 }), 4);
    expect(
      await harness.ingest({ resourceManager: RM.DBASE, info: 0x20, main: u32s(5, 2, 1663, 1700) }),
    ).toEqual([
      'database 1663/5: absent',
      'relation map 1663/5: absent',
      'relation 1663/5/16384 main size: absent',
    ]);
  });

  test('a copied database has every page, also those that cannot be rebuilt', async () => {
    const harness = await IngestHarness.create();
    await harness.ingest({
      resourceManager: RM.XLOG,
      info: 0xb0,
      blocks: [block(0, { image: { page: page(), apply: true } })],
    });
    await harness.ingest({ resourceManager: 200, blocks: [block(1)] });
    expect(await harness.ingest({ resourceManager: RM.DBASE, main: u32s(9, 1663, 5, 1663) })).toEqual([
      'database 1663/9: image',
      'relation 1663/9/16384 main size: 2',
      'relation 1663/9/16384 main block 0: image',
      'relation 1663/9/16384 main block 1: unreadable',
      'relation map 1663/9: image',
    ]);
    expect(harness.content(relationMapKey(1663, 9))).toEqual(Uint8Array.of(5));
    expect(() => harness.content(relationPageKey({ ...FORK, dbOid: 9, fork: 0 }, 1))).toThrow(
      /^relation 1663\/9\/16384 main block 1: copied from a page that cannot be rebuilt: relation 1663\/5\/16384/,
    );
  });
});
const byPage = (a: string, b: string): number => rank(a) - rank(b);
const rank = (line: string): number =>
  line.includes('block') || line.startsWith('commit time')
    ? 0
    : line.startsWith('pg_xact')
      ? 1
      : line.startsWith('relation')
        ? 2
        : 3;

describe('visibility map', () => {
  const cleared = (heapBlock: number, flags: number) =>
    `visibilityClear ${JSON.stringify({ blocks: [{ heapBlock, flags }] })}`;

  test('a flag clears the bits of the heap page; a named map page is left to redo', async () => {
    const harness = await IngestHarness.create();
    harness.timeline.state.files.load(relationSizeKey({ ...FORK, fork: 0 }), 8);
    expect(await harness.ingest(heapInsert(7, 1))).toEqual([
      'relation 1663/5/16384 main block 7: record',
      `relation 1663/5/16384 vm block 0: new ${cleared(7, 3)}`,
      'relation 1663/5/16384 vm size: 1',
    ]);
    const both = [block(7), block(0, { id: 1, fork: 2 })];
    expect(await harness.ingest(heapInsert(7, 1, both))).toEqual([
      'relation 1663/5/16384 vm block 0: record',
      'relation 1663/5/16384 main block 7: record',
    ]);
    const lock = { resourceManager: RM.HEAP, info: 0x60, main: Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 1) };
    expect(await harness.ingest({ ...lock, blocks: [block(3)] })).toContain(
      `relation 1663/5/16384 vm block 0: ${cleared(3, 2)}`,
    );
  });

  test('an update clears both pages: one value for each page of the map', async () => {
    const harness = await IngestHarness.create();
    harness.timeline.state.files.load(relationSizeKey({ ...FORK, fork: 0 }), 40_000);
    harness.timeline.state.files.load(relationSizeKey({ ...FORK, fork: 2 }), 2);
    const update = (newBlock: number, oldBlock: number) => ({
      resourceManager: RM.HEAP,
      info: 0x20,
      main: Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 3, 0, 0, 0, 0, 1, 0),
      blocks: [block(newBlock), block(oldBlock, { id: 1 })],
    });
    const one = { heapBlock: 3, flags: 3 };
    const two = { heapBlock: 9, flags: 3 };
    expect((await harness.ingest(update(9, 3))).slice(2)).toEqual([
      `relation 1663/5/16384 vm block 0: visibilityClear ${JSON.stringify({ blocks: [one, two] })}`,
    ]);
    expect((await harness.ingest(update(39_000, 3))).slice(2)).toEqual([
      `relation 1663/5/16384 vm block 0: ${cleared(3, 3)}`,
      `relation 1663/5/16384 vm block 1: ${cleared(39_000, 3)}`,
    ]);
  });
});

describe('transactions', () => {
  test('the newest commit time never goes back, and aborts do not count', async () => {
    const harness = await IngestHarness.create();
    const end = (info: number, xid: number, time: number) =>
      harness.ingest({ resourceManager: RM.XACT, info, xid, main: u64(time) });
    const newest = () => decodeTimestamp(harness.content(COMMIT_TIME_KEY)!);
    expect(await end(0x00, 760, 1_000)).toContain('commit time: image');
    expect(await end(0x00, 761, 999)).not.toContain('commit time: image');
    expect(await end(0x20, 762, 2_000)).not.toContain('commit time: image');
    expect(newest()).toBe(1_000);
    await end(0x00, 763, 1_001);
    expect(newest()).toBe(1_001);
  });

  test('subtransactions on two pages of pg_xact: one value for each', async () => {
    const harness = await IngestHarness.create({ nextXid: 32_800 });
    const main = join(u64(0), u32s(1 << 1), u32s(3, 32_767, 32_769, 32_770));
    expect(await harness.ingest({ resourceManager: RM.XACT, info: 0x80, xid: 32_766, main })).toEqual([
      'pg_xact 0000 block 0: new xidStatus {"status":1,"indexes":[32766,32767]}',
      'pg_xact 0000 block 1: new xidStatus {"status":1,"indexes":[1,2]}',
      'commit time: image',
      'pg_xact 0000 size: 2',
    ]);
    const second = harness.content(slruPageKey('pg_xact', 0, 1)) ?? new Uint8Array(8192);
    expect([0, 1, 2, 3].map((index) => xidStatus(second, index))).toEqual([0, 1, 1, 0]);
  });

  test('nextXid is a small change, now and then written whole', async () => {
    const harness = await IngestHarness.create();
    const kinds = new Map<string, number>();
    for (let xid = 752; xid < 752 + 600; xid++) {
      const [line] = await harness.ingest({ resourceManager: RM.STANDBY, info: 0x20, xid });
      const kind = line.replace(/ \{.*/, '');
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    }
    expect(Object.fromEntries(kinds)).toEqual({
      'checkpoint fields: image': 3,
      'checkpoint fields: nextXid': 597,
    });
    const nextXid = (content: Uint8Array | null) =>
      new DataView(content?.buffer ?? new ArrayBuffer(0), content?.byteOffset).getUint32(24, true);
    expect(nextXid(harness.content(CHECKPOINT_KEY))).toBe(1352);
    await harness.timeline.reload();
    expect(harness.checkPoint.nextXid).toBe(1352);
    expect(harness.timeline.state.lastRecordLsn).toBeGreaterThan(START);
  });

  test('a prepared transaction is found by its xid when it ends', async () => {
    const harness = await IngestHarness.create({ nextXid: 2 ** 32 + 900 });
    const header = join(
      u32s(0x57f9_4534, 92, 800, 5, 0, 0, 10, 1, 0, 0, 0, 0, 0),
      Uint8Array.of(0, 0, 3, 0),
      u64(0),
      u64(0),
      Uint8Array.of(103, 49, 0, 0, 0, 0, 0, 0),
      u32s(905, 0),
    );
    expect(header).toHaveLength(88);
    expect(await harness.ingest({ resourceManager: RM.XACT, info: 0x10, xid: 800, main: header })).toEqual([
      'two-phase 1/800: image',
      'checkpoint fields: image',
    ]);
    expect(harness.checkPoint.nextXid).toBe(2 ** 32 + 906);
    await harness.timeline.reload();
    const end = join(u64(0), u32s((1 << 4) | (1 << 7)), u32s(800), Uint8Array.of(103, 49, 0));
    expect(await harness.ingest({ resourceManager: RM.XACT, info: 0xb0, main: end })).toContain(
      'two-phase 1/800: absent',
    );
    expect(harness.timeline.state.twoPhase.size).toBe(0);
    const broken = header.with(0, 1);
    await expect(harness.ingest({ resourceManager: RM.XACT, info: 0x10, main: broken })).rejects.toThrow(
      'not the state of a prepared transaction',
    );
  });
});

describe('SLRUs', () => {
  const segments = (harness: IngestHarness, slru: Parameters<typeof slruSegmentKey>[0], which: number[]) => {
    for (const segment of which) {
      harness.timeline.state.files.load(slruSegmentKey(slru, segment), 32);
      harness.store.put(START, slruSegmentKey(slru, segment), sizeValue(32));
    }
  };

  test('pg_xact is truncated by whole segments, and the horizon moves', async () => {
    const harness = await IngestHarness.create({ nextXid: 5_000_000 });
    segments(harness, 'pg_xact', [0, 1, 2, 3, 4]);
    const truncate = { resourceManager: RM.CLOG, info: 0x10, main: join(u64(70), u32s(70 * 32_768, 4)) };
    expect(await harness.ingest(truncate)).toEqual([
      'pg_xact 0000 size: absent',
      'pg_xact 0001 size: absent',
      'checkpoint fields: image',
    ]);
    expect(harness.checkPoint).toMatchObject({ oldestXid: 70 * 32_768, oldestXidDb: 4 });
    const wrapped = { ...truncate, main: join(u64(200), u32s(70 * 32_768, 4)) };
    expect(await harness.ingest(wrapped)).toEqual([]); // beyond nextXid: Postgres refuses that too
  });

  test('multixacts: both offsets are written, members over two pages, pages come into being', async () => {
    const harness = await IngestHarness.create();
    const members = [1, 2].map((i) => u32s(800 + i, i));
    const create = (multi: number, offset: number) =>
      harness.ingest({
        resourceManager: RM.MULTIXACT,
        info: 0x20,
        main: join(u32s(multi, offset, 2), ...members),
      });
    await create(1, 1);
    expect(await create(2047, 1635)).toEqual([
      'pg_multixact/offsets 0000 block 0: multixactOffsets {"entries":[{"entry":2047,"offset":1635}]}',
      'pg_multixact/offsets 0000 block 1: new multixactOffsets {"entries":[{"entry":0,"offset":1637}]}',
      'pg_multixact/members 0000 block 0: multixactMembers {"first":1635,"members":[{"xid":801,"status":1}]}',
      'pg_multixact/members 0000 block 1: new multixactMembers {"first":0,"members":[{"xid":802,"status":2}]}',
      'pg_multixact/offsets 0000 size: 2',
      'pg_multixact/members 0000 size: 2',
      'checkpoint fields: image',
    ]);
    expect(harness.checkPoint).toMatchObject({ nextMulti: 2048, nextMultiOffset: 1637, nextXid: 803 });
    // The page was made before its record came: that must not empty it again.
    const zero = { resourceManager: RM.MULTIXACT, info: 0x00, main: u64(1) };
    expect(await harness.ingest(zero)).toEqual([]);
    expect(await harness.ingest(zero)).toEqual(['pg_multixact/offsets 0000 block 1: new zero']);
  });

  test('at the end of the members the next offset is 1, not 0', async () => {
    const harness = await IngestHarness.create({ nextMulti: 50, nextMultiOffset: 0xffff_fffe });
    segments(harness, 'pg_multixact/offsets', [0]);
    const main = join(u32s(50, 0xffff_fffe, 2), u32s(801, 1), u32s(802, 2));
    const said = await harness.ingest({ resourceManager: RM.MULTIXACT, info: 0x20, main });
    expect(said[0]).toContain('[{"entry":50,"offset":4294967294},{"entry":51,"offset":1}]');
    expect(said.filter((line) => line.includes('multixactMembers'))).toHaveLength(1);
    expect(harness.checkPoint.nextMultiOffset).toBe(0);
  });

  test('multixact truncation removes offsets and members, and the horizon moves', async () => {
    const harness = await IngestHarness.create({ nextMulti: 200_000 });
    segments(harness, 'pg_multixact/offsets', [0, 1, 2]);
    segments(harness, 'pg_multixact/members', [0, 1, 2, 3]);
    const perSegment = 1636 * 32;
    const main = u32s(4, 1, 150_000, 1, 2 * perSegment + 7);
    expect(await harness.ingest({ resourceManager: RM.MULTIXACT, info: 0x30, main })).toEqual([
      'pg_multixact/members 0000 size: absent',
      'pg_multixact/members 0001 size: absent',
      'pg_multixact/offsets 0000 size: absent',
      'pg_multixact/offsets 0001 size: absent',
      'checkpoint fields: image',
    ]);
    expect(harness.checkPoint).toMatchObject({ oldestMulti: 150_000, oldestMultiDb: 4 });
  });

  test('commit timestamps are kept while the parameter is on', async () => {
    const harness = await IngestHarness.create();
    const parameters = (on: number) => ({
      resourceManager: RM.XLOG,
      info: 0x60,
      main: join(u32s(100, 8, 10, 20, 64, 1), Uint8Array.of(0, on)),
    });
    const time = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    const commit = (xid: number) =>
      harness.ingest({ resourceManager: RM.XACT, xid, main: time, originId: 7 });
    expect((await commit(752)).filter((line) => line.startsWith('pg_commit_ts'))).toEqual([]);
    expect(await harness.ingest(parameters(1))).toEqual([
      'pg_commit_ts 0000 block 0: new zero',
      'pg_commit_ts 0000 size: 1',
      'control file: image',
      'checkpoint fields: image',
    ]);
    await commit(753);
    const stored = harness.content(slruPageKey('pg_commit_ts', 0, 0));
    expect(stored?.subarray(7530, 7540)).toEqual(join(time, Uint8Array.of(7, 0)));
    expect(harness.checkPoint).toMatchObject({ oldestCommitTsXid: 753, newestCommitTsXid: 753 });
    const truncate = { resourceManager: RM.COMMIT_TS, info: 0x10, main: join(u64(0), u32s(754)) };
    await harness.ingest(truncate);
    expect(harness.checkPoint.oldestCommitTsXid).toBe(754);
    await harness.timeline.reload();
    expect(harness.timeline.state.controlFile.maxPreparedTransactions).toBe(20);
    expect(await harness.ingest(parameters(0))).toContain('pg_commit_ts 0000 size: absent');
    expect(harness.checkPoint.oldestCommitTsXid).toBe(0);
  });
});

describe('what cannot be ingested', () => {
  test.each([
    ['XLOG', RM.XLOG, 0xc0],
    ['XACT', RM.XACT, 0x70],
    ['SMGR', RM.SMGR, 0x30],
    ['DBASE', RM.DBASE, 0x30],
    ['CLOG', RM.CLOG, 0x20],
    ['MULTIXACT', RM.MULTIXACT, 0x40],
    ['RELMAP', RM.RELMAP, 0x10],
    ['COMMIT_TS', RM.COMMIT_TS, 0x20],
  ])('a type of %s that Postgres 18 does not have', async (_, resourceManager, info) => {
    const harness = await IngestHarness.create();
    const ingesting = harness.ingest({ resourceManager, info, main: new Uint8Array(100) });
    await expect(ingesting).rejects.toMatchObject({ name: 'IngestError', code: 'unknownRecord' });
    await expect(ingesting).rejects.toThrow(
      `record at 0/3000028 (resource manager ${resourceManager}, info 0x${info.toString(16)}): not a record type of Postgres 18`,
    );
  });

  test('arbitrary main data is ingested or refused, and says at most one thing of each key', async () => {
    const record = fc.record({
      resourceManager: fc.nat({ max: 22 }),
      info: fc.nat({ max: 15 }).map((type) => type << 4),
      xid: fc.nat({ max: 0xffff_ffff }),
      main: fc.oneof(
        fc.uint8Array({ maxLength: 120 }),
        fc.array(fc.nat({ max: 6 }), { maxLength: 30 }).map((values) => u32s(...values)),
      ),
      blocks: fc
        .array(fc.nat({ max: 20 }), { maxLength: 2 })
        .map((numbers) => [...new Set(numbers)].map((number, id) => block(number, { id, fork: number % 5 }))),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(record, { maxLength: 5 }), async (records) => {
        const harness = await IngestHarness.create();
        for (const each of records) {
          try {
            await harness.ingest(each); // the store refuses two values of one key at one LSN
          } catch (error) {
            if (!(error instanceof IngestError)) throw error;
            return;
          }
        }
      }),
      { numRuns: 400 },
    );
  });
});
