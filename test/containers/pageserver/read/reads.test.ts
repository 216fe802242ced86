/**
 * Many keys at a time, at any LSN, of a timeline and of a branch of it, out of a cache of a few pages, while ingest and
 * compaction go on: every answer equals the model, and a page that cannot be rebuilt is an error with its name.
 */
import { rmSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { newMetrics } from '../../../../containers/pageserver/metrics/metrics.ts';
import { Pageserver } from '../../../../containers/pageserver/pageserver.ts';
import { PageCache } from '../../../../containers/pageserver/read/page-cache.ts';
import { answerPageRequest } from '../../../../containers/pageserver/read/page-service.ts';
import { TimelineReader } from '../../../../containers/pageserver/read/timeline-reader.ts';
import { MemoryStorage } from '../../../../containers/pageserver/remote/memory.ts';
import { LayerStack } from '../../../../containers/pageserver/timeline/layer-stack.ts';
import { formatLsn, lsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { decodePageResponse, type PageRun } from '../../../../lib/protocol/pages.ts';
import type { TimelineSpec } from '../../../../lib/protocol/specs.ts';
import {
  formatKey,
  relationPageKey,
  relationSizeKey,
  slruPageKey,
  type Key,
} from '../../../../lib/storage/key.ts';
import { encodeOperation } from '../../../../lib/storage/page-operation.ts';
import { imageValue, VALUE_TAG, type Value } from '../../../../lib/storage/value.ts';
import type { MemoryStore } from '../../../support/memory-store.ts';
import {
  FakeSafekeepers,
  modelOf,
  spec,
  START_LSN,
  SYSTEM_IDENTIFIER,
  testContext,
  type TestContext,
} from '../timeline/support.ts';
import { WalBuilder } from '../timeline/wal-builder.ts';

const RELATIONS = [16384, 16385, 16386];
const BLOCKS = 12;
const relation = (relNumber: number) => ({ spcOid: 1663, dbOid: 5, relNumber, fork: 0 });
const KEYS: Key[] = RELATIONS.flatMap((relNumber) => [
  relationSizeKey(relation(relNumber)),
  ...Array.from({ length: BLOCKS + 1 }, (_, block) => relationPageKey(relation(relNumber), block)),
]).concat(slruPageKey('pg_xact', 0, 0));

function randomOf(seed: number): (max: number) => number {
  let state = seed;
  return (max) => ((state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 8) % max;
}
/** Pages and commits; the page of pg_xact gets a chain of operations. */
function write(wal: WalBuilder, count: number, seed: number): void {
  const random = randomOf(seed);
  for (let i = 0; i < count; i++) {
    if (random(2) === 0) wal.commit(700 + random(2000));
    else wal.page(RELATIONS[random(3)], random(BLOCKS), seed * 1000 + i);
  }
}

const contexts: TestContext[] = [];
const pageservers: Pageserver[] = [];
afterEach(async () => {
  for (const pageserver of pageservers.splice(0)) await pageserver.abandon();
  for (const context of contexts.splice(0)) context.remove();
});
function open(options: Parameters<typeof testContext>[0], pageCache = new PageCache(5 * 8192)): Pageserver {
  const context = { ...testContext(options), pageCache };
  contexts.push(context);
  const { projectId } = spec;
  const pageserver = new Pageserver(
    { projectId, generation: options.generation, sessionToken: 't', stopAfterMs: 0 },
    context,
  );
  pageservers.push(pageserver);
  return pageserver;
}

/** Reads some keys at random, in random order, and compares each. */
async function compareSome(
  reader: TimelineReader,
  model: MemoryStore,
  random: (max: number) => number,
  at: Lsn,
): Promise<void> {
  const keys = Array.from({ length: 1 + random(30) }, () => KEYS[random(KEYS.length)]);
  const wrong: string[] = [];
  let taken = 0;
  await reader.getAll(keys, at, (index, content) => {
    taken++;
    const expected = model.get(keys[index], at);
    const same =
      expected === null || content === null
        ? expected === content
        : Buffer.from(content.buffer, content.byteOffset, content.length).equals(expected);
    if (!same) wrong.push(`${formatKey(keys[index])} at ${formatLsn(at)}`);
  });
  expect(wrong).toEqual([]);
  expect(taken).toBe(keys.length);
}

test('batches at any LSN equal the model while WAL comes in, layers are merged, and files have to be fetched', async () => {
  const wal = new WalBuilder(START_LSN, SYSTEM_IDENTIFIER);
  write(wal, 600, 1);
  const model = await modelOf(wal);
  const safekeepers = new FakeSafekeepers(wal);
  const storage = new MemoryStorage();
  const settings = { quietMs: 5, openLayerBytesMax: 100_000 };
  const random = randomOf(7);
  const first = await open({ storage, safekeepers, generation: 1, settings }).timeline(spec);
  for (let i = 0; i < 60; i++) {
    const end = wal.ends[Math.min(wal.ends.length - 1, (i + 1) * 10)];
    safekeepers.commit(end);
    const reads = Array.from({ length: 6 }, async () => {
      const at = wal.ends[random((i + 1) * 10)];
      await compareSome(first.reader, model, random, await first.waitFor(at));
    });
    await Promise.all(reads);
  }
  while (!first.isIdle) await new Promise((resolve) => setTimeout(resolve, 1));
  await pageservers.pop()!.abandon();

  // All layers are in storage and none is here; some files go away while they are read.
  const second = open({ storage, safekeepers, generation: 2, settings });
  const timeline = await second.timeline(spec);
  const { diskFolder } = contexts.at(-1)!;
  for (let i = 0; i < 40; i++) {
    if (i % 10 === 9) rmSync(`${diskFolder}/layers`, { recursive: true, force: true });
    await Promise.all(
      Array.from({ length: 8 }, () =>
        compareSome(timeline.reader, model, random, wal.ends[random(wal.ends.length)]),
      ),
    );
  }
});

test('a branch and its ancestor share a cache of five pages and get each their own', async () => {
  const wal = new WalBuilder(START_LSN, SYSTEM_IDENTIFIER);
  write(wal, 200, 3);
  const [branchLsn, previousLsn] = [wal.endLsn, wal.previousLsn];
  const own = new WalBuilder(branchLsn, SYSTEM_IDENTIFIER, previousLsn);
  const joined = new WalBuilder(START_LSN, SYSTEM_IDENTIFIER);
  write(joined, 200, 3);
  expect(joined.endLsn).toBe(branchLsn);
  write(joined, 200, 4);
  write(own, 200, 4);
  write(wal, 200, 5);
  const branch: TimelineSpec = {
    ...spec,
    timelineId: 'cd'.repeat(16),
    startLsn: formatLsn(branchLsn),
    origin: {
      kind: 'branch',
      ancestor: spec,
      ancestorLsn: formatLsn(branchLsn),
      previousLsn: formatLsn(previousLsn),
    },
  };
  const models = [await modelOf(wal), await modelOf(joined)];
  const logs = [new FakeSafekeepers(wal), new FakeSafekeepers(own)];
  for (const log of logs) log.commit();
  const context = { storage: new MemoryStorage(), safekeepers: logs[0], generation: 1 };
  const pageserver = open(context);
  contexts.at(-1)!.openWal = (n, of, from) =>
    logs[of.timelineId === spec.timelineId ? 0 : 1].connect(n, from);
  const timelines = [await pageserver.timeline(spec), await pageserver.timeline(branch)];
  const random = randomOf(11);
  for (let i = 0; i < 150; i++) {
    const which = random(2);
    const ends = which === 0 ? wal.ends : joined.ends.slice(200);
    const at = await timelines[which].waitFor(ends[random(ends.length)]);
    await compareSome(timelines[which].reader, models[which], random, at);
  }
});

test('a flood of requests on one timeline does not hold up another', async () => {
  const logs = [1, 2].map((seed) => {
    const wal = new WalBuilder(START_LSN, SYSTEM_IDENTIFIER);
    write(wal, 300, seed);
    return wal;
  });
  const specs = ['ab', 'cd'].map((digits) => ({ ...spec, timelineId: digits.repeat(16) }));
  const safekeepers = logs.map((wal) => new FakeSafekeepers(wal));
  for (const each of safekeepers) each.commit();
  const pageserver = open({ storage: new MemoryStorage(), safekeepers: safekeepers[0], generation: 1 });
  contexts.at(-1)!.openWal = (n, of, from) =>
    safekeepers[specs.findIndex(({ timelineId }) => timelineId === of.timelineId)].connect(n, from);
  const [busy, other] = await Promise.all(specs.map((each) => pageserver.timeline(each)));
  await Promise.all([busy.waitFor(logs[0].endLsn), other.waitFor(logs[1].endLsn)]);

  const runs = RELATIONS.flatMap((relNumber): PageRun[] =>
    Array.from({ length: 10 }, () => ({ kind: 'relation', ...relation(relNumber), block: 0, count: BLOCKS })),
  );
  let answered = 0;
  const flood = Array.from({ length: 60 }, async (_, id) => {
    const answer = await answerPageRequest(busy, { tag: 'getPages', id, lsn: logs[0].endLsn, runs });
    answered++;
    return answer;
  });
  const before = await new Promise<number>((resolve, reject) => {
    setImmediate(() => {
      const asked = answered;
      answerPageRequest(other, { tag: 'getPages', id: 1, lsn: logs[1].endLsn, runs: runs.slice(0, 1) })
        .then(({ error }) => (error === null ? resolve(answered - asked) : reject(new Error(error.message))))
        .catch(reject);
    });
  });
  expect(before).toBeLessThan(10);
  const answers = await Promise.all(flood);
  expect(answers.every(({ error }) => error === null)).toBe(true);
  const response = decodePageResponse(answers[0].bytes);
  expect(response.tag === 'pages' && response.pages.filter((page) => page !== null).length).toBe(360);
});

/** A reader of what a test puts into memory. */
function readerOf(key: Key) {
  const stack = new LayerStack({ lsn: lsn(8), previousLsn: lsn(0) }, []);
  const reader = new TimelineReader({ stack, pageCache: new PageCache(5 * 8192), metrics: newMetrics() });
  const put = (at: number, value: Value) => {
    stack.open.put(key, lsn(at), value);
    stack.advance({ lsn: lsn(at), previousLsn: lsn(8) });
  };
  return { reader, put };
}

test('what was got stays as it was when the cache brings its page further, also where it is not to be remembered', async () => {
  const key = slruPageKey('pg_xact', 0, 0);
  const { reader, put } = readerOf(key);
  put(16, imageValue(new Uint8Array(8192)));
  const got = [];
  for (const remember of [true, false, true, false]) got.push(await reader.get(key, lsn(16), remember));
  put(24, encodeOperation({ kind: 'xidStatus', status: 1, indexes: [0, 1] }, false));
  got.push(await reader.get(key, lsn(24), false));
  expect((await reader.get(key, lsn(24)))![0]).toBe(0b0101);
  got.push(await reader.get(key, lsn(24), false));
  put(32, encodeOperation({ kind: 'xidStatus', status: 2, indexes: [2] }, false));
  expect((await reader.get(key, lsn(32)))![0]).toBe(0b100101);
  expect(got.map((page) => page![0])).toEqual([0, 0, 0, 0, 0b0101, 0b0101]);
});

test('a record that cannot be replayed is an error with page and record; what was before it can still be read', async () => {
  const key = relationPageKey(relation(16384), 7);
  const { reader, put } = readerOf(key);
  const page = new Uint8Array(8192).fill(7);
  put(16, imageValue(page));
  expect(await reader.get(key, lsn(16))).toEqual(page);
  put(24, new Uint8Array([VALUE_TAG.record, 0, ...Array.from({ length: 40 }, () => 0xee)]) as Value);
  for (let i = 0; i < 2; i++)
    await expect(reader.get(key, lsn(24))).rejects.toThrow(
      /relation 1663\/5\/16384 main block 7: at 0\/18: /,
    );
  // Neither the page in the cache nor the one before the record has been touched by the attempt.
  expect(await reader.get(key, lsn(16))).toEqual(page);
  await expect(reader.get(key, lsn(24))).rejects.toMatchObject({ name: 'ReconstructError' });
  put(32, imageValue(page.toReversed()));
  expect(await reader.get(key, lsn(32))).toEqual(page.toReversed());
});
