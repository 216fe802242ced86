/** A bad day of object storage: retries, parts and conditional puts over faults that a seed repeats. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NO_FAULTS, withFaults } from '../../../../containers/pageserver/remote/faults.ts';
import { measured } from '../../../../containers/pageserver/remote/measured.ts';
import { MemoryStorage } from '../../../../containers/pageserver/remote/memory.ts';
import { putOnce, withRetries } from '../../../../containers/pageserver/remote/retry.ts';
import { codeOfStatus, StorageError } from '../../../../containers/pageserver/remote/storage.ts';
import { upload } from '../../../../containers/pageserver/remote/upload.ts';
import { newMetrics } from '../../../../containers/pageserver/metrics/metrics.ts';
import { someBytes, storageSuite } from './suite.ts';

function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}
const noSleep = () => Promise.resolve();
function world(seed: number, faults = {}) {
  const memory = new MemoryStorage();
  const random = seeded(seed);
  const faulty = withFaults(memory, { faults, random, sleep: noSleep });
  const metrics = newMetrics();
  const storage = withRetries(measured(faulty, metrics), {
    attemptsMax: 30,
    delayMs: 1,
    delayMsMax: 2,
    sleep: noSleep,
    random,
    onRetry: (_, operation) => metrics.storageRetries.inc(1, { operation }),
  });
  return { memory, faulty, storage, metrics };
}

describe('the suite over storage that fails half the time before it does anything', () => {
  const { storage } = world(5, { down: 0.3, throttled: 0.2 });
  storageSuite(() => storage);
});

test('what fails and what is retried is counted', async () => {
  const { storage, metrics, faulty } = world(7, { throttled: 0.5 });
  for (let i = 0; i < 50; i++) await storage.put(`a${i}`, new Uint8Array(10));
  const count = (outcome: string) => metrics.storageRequests.value({ operation: 'put', outcome });
  expect(count('ok')).toBe(50);
  expect(count('throttled')).toBe(faulty.met);
  expect(faulty.met).toBeGreaterThan(20);
  expect(metrics.storageRetries.value({ operation: 'put' })).toBe(faulty.met);
  expect(metrics.storageSentBytes.value()).toBe(500);
  expect(metrics.storageRequestSeconds.count({ operation: 'put' })).toBe(50 + faulty.met);
});

test('a conditional put whose answer was lost knows its own bytes, and nobody else’s', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      const { storage, memory, faulty } = world(seed, { unanswered: 0.5, down: 0.2 });
      let tag: string | null = null;
      for (let i = 0; i < 10; i++) {
        const bytes = new TextEncoder().encode(`version ${i}`);
        const put = await putOnce(storage, 'index', bytes, tag === null ? { absent: true } : { tag });
        expect(put).toHaveProperty('tag');
        tag = (put as { tag: string }).tag;
        expect(memory.objects.get('index')).toEqual(bytes);
      }
      faulty.faults = NO_FAULTS;
      await memory.put('index', new TextEncoder().encode('of another'));
      const put = await putOnce(storage, 'index', new TextEncoder().encode('mine'), { tag: tag! });
      expect(put).toMatchObject({ conflict: { bytes: new TextEncoder().encode('of another') } });
    }),
    { numRuns: 50 },
  );
});

test('a put that comes late cannot take back what was put after it', async () => {
  const { memory } = world(1);
  const tag = await memory.put('index', new Uint8Array([1]), { absent: true });
  const late = () => memory.put('index', new Uint8Array([2]), { tag }); // sent, given up, still on its way
  const next = await memory.put('index', new Uint8Array([2]), { tag });
  await memory.put('index', new Uint8Array([3]), { tag: next });
  await expect(late()).rejects.toMatchObject({ code: 'conflict' });
  expect(memory.objects.get('index')).toEqual(new Uint8Array([3]));
});

test('an upload in parts that fails is given up whole, with a few parts in memory at a time', async () => {
  const { memory, storage, faulty } = world(3);
  let reading = 0;
  let most = 0;
  const bytes = someBytes(100_000);
  const source = {
    size: bytes.length,
    read: async (offset: number, length: number) => {
      most = Math.max(most, ++reading);
      await new Promise((resolve) => setImmediate(resolve));
      return bytes.slice(offset, offset + length);
    },
  };
  memory.before = ({ name }) => void (name === 'putPart' && reading--);
  await upload(storage, 'a', source, { partBytes: 1000, partsAtOnce: 3 });
  expect(memory.objects.get('a')).toEqual(bytes);
  expect(most).toBeLessThanOrEqual(3);
  let left = 40;
  memory.before = ({ name }) => {
    if (name === 'putPart' && --left < 0) throw new StorageError('refused', 'no more');
  };
  await expect(upload(storage, 'b', source, { partBytes: 1000, partsAtOnce: 3 })).rejects.toThrow('no more');
  expect(memory.objects.has('b')).toBe(false);
  expect(memory.unfinished).toBe(0);
  expect(faulty.met).toBe(0);
});

test('what an HTTP status means', () => {
  const codes = [undefined, 400, 403, 408, 409, 412, 425, 429, 500, 502, 503].map(codeOfStatus);
  expect(codes).toEqual([
    'unavailable',
    'refused',
    'refused',
    'unavailable',
    'unavailable',
    'conflict',
    'unavailable',
    'throttled',
    'unavailable',
    'unavailable',
    'throttled',
  ]);
});
