import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ERRNO, OPERATION } from '../../../../lib/fuse/protocol.ts';
import { PAGE_SIZE, type PageRun } from '../../../../lib/protocol/pages.ts';
import { cString, emptyManifest, Harness, pageOf } from './harness.ts';

const DB = 5;
const BLOCKS = 6;
const relation = (rel: number, fork = 0): PageRun => ({
  kind: 'relation',
  spcOid: 1663,
  dbOid: DB,
  relNumber: rel,
  fork,
  block: 0,
  count: 1,
});
/** A file's bytes at the boot LSN. */
const original = (rel: number, blocks = BLOCKS): Uint8Array =>
  Buffer.concat(Array.from({ length: blocks }, (_, block) => pageOf(relation(rel), block)));

let harness: Harness;
let base: number;
beforeEach(async () => {
  const manifest = emptyManifest();
  manifest.relations = [
    [1663, DB, 100, 0, BLOCKS],
    [1663, DB, 101, 0, BLOCKS],
    [1663, DB, 102, 0, 0],
    [1663, DB, 200, 3, 1],
    [1663, DB, 200, 0, 9],
    [1663, DB, 200, 1, 2],
  ];
  manifest.slrus = [{ kind: 'pg_xact', segment: 0x1f, blocks: 2 }];
  harness = new Harness(manifest);
  mkdirSync(join(harness.root, 'base', String(DB)), { recursive: true });
  mkdirSync(join(harness.root, 'pg_xact'));
  base = (await harness.walk(`base/${DB}`)).id;
});
afterEach(() => harness.close());

const backing = (name: string): string => join(harness.root, 'base', String(DB), name);
const errno = (code: number) => expect.objectContaining({ errno: code });

describe('a remote file', () => {
  test('is looked up without being made, and made without being fetched', async () => {
    const entry = await harness.walk(`base/${DB}/100`);
    expect(entry.size).toBe(BLOCKS * PAGE_SIZE);
    expect(entry.mode).toBe(0o100600);
    expect(existsSync(backing('100'))).toBe(false);
    await harness.write(entry.id, 0, new Uint8Array(PAGE_SIZE));
    expect(existsSync(backing('100'))).toBe(true);
    expect(harness.pages.requests).toEqual([]);
  });

  test('is fetched in one request for a read over several blocks, and only once', async () => {
    const { id } = await harness.walk(`base/${DB}/100`);
    await harness.write(id, 2 * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(9));
    const bytes = await harness.read(id, 0, BLOCKS * PAGE_SIZE);
    const expected = original(100);
    expected.fill(9, 2 * PAGE_SIZE, 3 * PAGE_SIZE);
    expect(Buffer.compare(bytes, expected)).toBe(0);
    expect(harness.pages.requests).toEqual([
      [
        { ...relation(100), block: 0, count: 2 },
        { ...relation(100), block: 3, count: 3 },
      ],
    ]);
    await harness.read(id, 0, BLOCKS * PAGE_SIZE);
    expect(harness.pages.requests).toHaveLength(1);
  });

  test('two reads that miss the same block share one fetch', async () => {
    const { id } = await harness.walk(`base/${DB}/100`);
    const release = harness.pages.hold();
    const misses = [1, 2].map(() => harness.fetcher.ensure({ id, block: 1, count: 2 }));
    expect(harness.pages.requests).toHaveLength(1);
    release();
    await Promise.all(misses);
  });

  test('a block written while its fetch is under way keeps what was written', async () => {
    const { id } = await harness.walk(`base/${DB}/100`);
    const release = harness.pages.hold();
    const fetching = harness.fetcher.ensure({ id, block: 0, count: 3 });
    await harness.write(id, PAGE_SIZE, new Uint8Array(4096).fill(77));
    release();
    await fetching;
    const bytes = await harness.read(id, 0, 3 * PAGE_SIZE);
    const expected = original(100, 3);
    expected.fill(77, PAGE_SIZE, PAGE_SIZE + 4096);
    expect(Buffer.compare(bytes, expected)).toBe(0);
  });

  test('shrunk and extended again reads zeros, never the old pages, even of a fetch under way', async () => {
    const { id } = await harness.walk(`base/${DB}/100`);
    const release = harness.pages.hold();
    const fetching = harness.fetcher.ensure({ id, block: 0, count: BLOCKS });
    expect(await harness.truncate(id, PAGE_SIZE)).toBe(PAGE_SIZE);
    expect(await harness.truncate(id, 4 * PAGE_SIZE)).toBe(4 * PAGE_SIZE);
    release();
    await fetching;
    const bytes = await harness.read(id, 0, BLOCKS * PAGE_SIZE);
    const expected = Buffer.concat([original(100, 1), new Uint8Array(3 * PAGE_SIZE)]);
    expect(Buffer.compare(bytes, expected)).toBe(0);
  });

  test('unlinked and made anew is empty; whoever had it open still reads the old one', async () => {
    const { id } = await harness.walk(`base/${DB}/100`);
    await harness.unlink(base, '100');
    expect(await harness.lookup(base, '100')).toBeNull();
    const fresh = await harness.create(base, '100');
    await harness.write(fresh.id, 0, new Uint8Array(10).fill(1));
    expect((await harness.read(fresh.id, 0, 100)).length).toBe(10);
    expect((await harness.attributes(id)).nlink).toBe(0);
    expect(Buffer.compare(await harness.read(id, 0, BLOCKS * PAGE_SIZE), original(100))).toBe(0);
    expect((await harness.read(fresh.id, 0, 100)).length).toBe(10);
    await harness.forget(id, 1);
    expect(readdirSync(harness.root).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  test('renamed keeps all its pages under the new name', async () => {
    const { id } = await harness.walk(`base/${DB}/100`);
    await harness.write(id, 0, new Uint8Array(PAGE_SIZE).fill(5));
    await harness.rename(base, '100', base, '300');
    expect(await harness.lookup(base, '100')).toBeNull();
    await harness.forget(id, 1);
    const renamed = await harness.walk(`base/${DB}/300`);
    const expected = original(100);
    expected.fill(5, 0, PAGE_SIZE);
    expect(Buffer.compare(await harness.read(renamed.id, 0, BLOCKS * PAGE_SIZE), expected)).toBe(0);
  });

  test('replaced by a rename is gone', async () => {
    const old = await harness.walk(`base/${DB}/101`);
    const fresh = await harness.create(base, 'new');
    await harness.write(fresh.id, 0, new Uint8Array(8).fill(3));
    await expect(harness.rename(base, 'new', base, '101', 1)).rejects.toEqual(errno(ERRNO.EEXIST));
    await harness.rename(base, 'new', base, '101');
    expect((await harness.walk(`base/${DB}/101`)).id).toBe(fresh.id);
    expect((await harness.read(fresh.id, 0, 100)).length).toBe(8);
    expect((await harness.attributes(old.id)).nlink).toBe(0);
  });

  test('an empty one exists', async () => {
    const { id, size } = await harness.walk(`base/${DB}/102`);
    expect(size).toBe(0);
    expect((await harness.read(id, 0, PAGE_SIZE)).length).toBe(0);
    await harness.write(id, 0, new Uint8Array(PAGE_SIZE).fill(1));
    expect((await harness.attributes(id)).size).toBe(PAGE_SIZE);
  });
});

test('the main fork of an unlogged relation is its init fork, and its other forks are absent', async () => {
  const main = await harness.walk(`base/${DB}/200`);
  expect(main.size).toBe(PAGE_SIZE);
  expect(await harness.lookup(base, '200_fsm')).toBeNull();
  const bytes = await harness.read(main.id, 0, 10 * PAGE_SIZE);
  expect(Buffer.compare(bytes, pageOf(relation(200, 3), 0))).toBe(0);
  await harness.write(main.id, 0, new Uint8Array(PAGE_SIZE).fill(8));
  const init = await harness.walk(`base/${DB}/200_init`);
  expect(Buffer.compare(await harness.read(init.id, 0, PAGE_SIZE), pageOf(relation(200, 3), 0))).toBe(0);
});

test('an SLRU segment is found by its hexadecimal name', async () => {
  const { id, size } = await harness.walk('pg_xact/001F');
  expect(size).toBe(2 * PAGE_SIZE);
  const run: PageRun = { kind: 'slru', slru: 'pg_xact', segment: 0x1f, block: 0, count: 1 };
  expect(Buffer.compare(await harness.read(id, PAGE_SIZE, PAGE_SIZE), pageOf(run, 1))).toBe(0);
});

describe('a page that cannot be had', () => {
  test('fails its read, and is asked for again by the next', async () => {
    const { id } = await harness.walk(`base/${DB}/100`);
    harness.pages.fail = (run) => (run.block <= 2 ? new Error('redo of block 2 failed') : undefined);
    await expect(harness.read(id, 2 * PAGE_SIZE, PAGE_SIZE)).rejects.toThrow('redo of block 2 failed');
    expect(harness.fetcher.statistics.fetchesFailed).toBe(1);
    harness.pages.fail = undefined;
    expect(Buffer.compare(await harness.read(id, 0, BLOCKS * PAGE_SIZE), original(100))).toBe(0);
  });

  test('is never zeros: one that the pageserver does not have is named', async () => {
    const { id } = await harness.walk(`base/${DB}/100`);
    harness.pages.missing = (_run, block) => block === 4;
    await expect(harness.read(id, 0, BLOCKS * PAGE_SIZE)).rejects.toThrow(
      'base/5/100 block 4 at 0/3000000: the pageserver has no such page, though the file had 6 blocks',
    );
    expect((await harness.read(id, 0, 4 * PAGE_SIZE)).length).toBe(4 * PAGE_SIZE);
    await expect(harness.read(id, 4 * PAGE_SIZE, PAGE_SIZE)).rejects.toThrow('block 4');
  });
});

describe('names', () => {
  test('a directory with remote files cannot be removed before they are', async () => {
    const parent = (await harness.walk('base')).id;
    const rmdir = () => harness.request(OPERATION.RMDIR, parent, cString(String(DB)));
    await expect(rmdir()).rejects.toEqual(errno(ERRNO.ENOTEMPTY));
    for (const name of ['100', '101', '102', '200', '200_init']) await harness.unlink(base, name);
    await rmdir();
    expect(await harness.lookup(parent, String(DB))).toBeNull();
  });

  test('a made name that exists remotely is refused', async () => {
    await expect(harness.create(base, '100')).rejects.toEqual(errno(ERRNO.EEXIST));
  });

  test('an inode that was never given out, and names that Postgres does not use', async () => {
    await expect(harness.read(999, 0, 1)).rejects.toEqual(errno(ERRNO.ENOENT));
    await expect(harness.lookup(base, 'x'.repeat(65))).rejects.toEqual(errno(ERRNO.ENAMETOOLONG));
    await expect(harness.lookup(base, 'ü')).rejects.toEqual(errno(ERRNO.EINVAL));
    await expect(harness.unlink(base, 'none')).rejects.toEqual(errno(ERRNO.ENOENT));
  });

  test('a forgotten inode is given out again with another generation', async () => {
    const first = await harness.create(base, 'a');
    await harness.unlink(base, 'a');
    await harness.forget(first.id, 1);
    const generation = harness.volume.inodes.generation(first.id);
    const second = await harness.create(base, 'b');
    expect(second.id).toBe(first.id);
    expect(generation).toBe(1);
  });
});

/**
 * The model: a few files as byte arrays. Whatever happens, in whatever order, the data directory reads the same.
 * Offsets lean on the edges of blocks, and units, and of the file at the boot LSN.
 */
describe('model', () => {
  type Step =
    | { kind: 'read' | 'truncate' | 'allocate'; file: number; offset: number; size: number }
    | { kind: 'write'; file: number; offset: number; size: number; byte: number }
    | { kind: 'fetch'; file: number; block: number; count: number }
    | { kind: 'replace' | 'rename' | 'forget'; file: number };
  const edge = fc
    .tuple(fc.integer({ min: 0, max: BLOCKS + 3 }), fc.constantFrom(0, 0, 0, 4096, 1, 4095, 4097, 8191, 100))
    .map(([block, rest]) => block * PAGE_SIZE + rest);
  const size = fc.constantFrom(1, 100, 4096, 4097, 8192, 12_288, 20_000, 65_536);
  const file = fc.nat({ max: 2 });
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('read' as const), file, offset: edge, size }) },
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('write' as const),
        file,
        offset: edge,
        size,
        byte: fc.integer({ min: 1, max: 255 }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('truncate' as const), file, offset: edge, size }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('allocate' as const), file, offset: edge, size }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('fetch' as const),
        file,
        block: fc.nat({ max: BLOCKS - 1 }),
        count: fc.integer({ min: 1, max: BLOCKS }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constantFrom('replace' as const, 'rename' as const, 'forget' as const),
        file,
      }),
    },
  );

  const resized = (bytes: Uint8Array, length: number): Uint8Array => {
    const next = new Uint8Array(length);
    next.set(bytes.subarray(0, length));
    return next;
  };

  test('whatever is written, cut, fetched, renamed and replaced, reads are those of plain files', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
        const manifest = emptyManifest();
        for (let rel = 0; rel < 3; rel++) manifest.relations.push([1663, DB, 100 + rel, 0, BLOCKS]);
        using world = new Harness(manifest, { descriptorsMax: 2 });
        mkdirSync(join(world.root, 'base', String(DB)), { recursive: true });
        const directory = (await world.walk(`base/${DB}`)).id;
        const files: { name: string; id: number; bytes: Uint8Array }[] = [];
        for (let rel = 0; rel < 3; rel++) {
          const name = String(100 + rel);
          const { id } = await world.walk(`base/${DB}/${name}`);
          files.push({ name, id, bytes: original(100 + rel) });
        }
        // A fetch that is under way while the next steps happen.
        let release: () => void = () => undefined;
        let underWay: Promise<unknown> = Promise.resolve();
        const settle = async (): Promise<void> => {
          release();
          await underWay;
        };
        for (const now of steps) {
          const it = files[now.file];
          switch (now.kind) {
            case 'read': {
              await settle();
              const bytes = await world.read(it.id, now.offset, now.size);
              const expected = it.bytes.subarray(now.offset, now.offset + now.size);
              expect(Buffer.compare(bytes, expected)).toBe(0);
              break;
            }
            case 'write': {
              const partial = now.offset % 4096 !== 0 || now.size % 4096 !== 0;
              if (partial) await settle(); // may need a page
              const end = now.offset + now.size;
              expect(await world.write(it.id, now.offset, new Uint8Array(now.size).fill(now.byte))).toBe(
                now.size,
              );
              it.bytes = resized(it.bytes, Math.max(it.bytes.length, end));
              it.bytes.fill(now.byte, now.offset, end);
              break;
            }
            case 'truncate':
              if (now.offset % 4096 !== 0) await settle();
              expect(await world.truncate(it.id, now.offset)).toBe(now.offset);
              it.bytes = resized(it.bytes, now.offset);
              break;
            case 'allocate':
              await world.allocate(it.id, now.offset, now.size);
              it.bytes = resized(it.bytes, Math.max(it.bytes.length, now.offset + now.size));
              break;
            case 'fetch':
              await settle();
              release = world.pages.hold();
              if (world.volume.isRemote(it.id))
                underWay = world.fetcher.ensure({ id: it.id, block: now.block, count: now.count });
              break;
            case 'rename': {
              await settle();
              const name = `r${it.name}`.slice(0, 40);
              await world.rename(directory, it.name, directory, name);
              it.name = name;
              break;
            }
            case 'forget':
              // The kernel forgets what nobody uses, and looks it up again.
              await world.forget(it.id, 1);
              it.id = (await world.walk(`base/${DB}/${it.name}`)).id;
              break;
            case 'replace':
              await world.unlink(directory, it.name);
              await world.forget(it.id, 1);
              it.id = (await world.create(directory, it.name)).id;
              it.bytes = new Uint8Array(0);
              break;
          }
        }
        await settle();
        for (const it of files) {
          expect((await world.attributes(it.id)).size).toBe(it.bytes.length);
          expect(Buffer.compare(await world.read(it.id, 0, 1 << 20), it.bytes)).toBe(0);
        }
      }),
      { numRuns: 150 },
    );
  }, 60_000);
});
