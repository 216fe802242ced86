/**
 * Object storage as it is on a bad day, over any implementation: slow, throttling, failing before or after a request took
 * effect, or down. Which request meets what is drawn from `random`, so that a seed repeats a run.
 */
import { StorageError, type ObjectStorage, type PartsUpload } from './storage.ts';

/** Probabilities of each, from 0 to 1; tried in this order. */
export interface Faults {
  /** Not answered, and nothing done. */
  down: number;
  throttled: number;
  /** Done, but the answer is lost. */
  unanswered: number;
  /** Answers come after a random time below this. */
  delayMsMax: number;
}
export const NO_FAULTS: Faults = { down: 0, throttled: 0, unanswered: 0, delayMsMax: 0 };

export interface FaultyStorage extends ObjectStorage {
  /** May be changed at any time. */
  faults: Faults;
  /** Requests that met one. */
  met: number;
}

export function withFaults(
  storage: ObjectStorage,
  options: { faults?: Partial<Faults>; random: () => number; sleep: (ms: number) => Promise<void> },
): FaultyStorage {
  const { random, sleep } = options;
  async function request<T>(what: string, run: () => Promise<T>): Promise<T> {
    const { down, throttled, unanswered, delayMsMax } = faulty.faults;
    if (delayMsMax > 0) await sleep(random() * delayMsMax);
    const meet = (code: 'unavailable' | 'throttled', why: string): never => {
      faulty.met++;
      throw new StorageError(code, `${what}: ${why}`);
    };
    if (random() < down) meet('unavailable', 'no answer');
    if (random() < throttled) meet('throttled', 'SlowDown');
    const lost = random() < unanswered;
    const answer = await run();
    return lost ? meet('unavailable', 'the answer was lost') : answer;
  }
  const faultyParts = (key: string, parts: PartsUpload): PartsUpload => ({
    put: (number, bytes) => request(`part ${number} of ${key}`, () => parts.put(number, bytes)),
    complete: () => request(`completion of ${key}`, () => parts.complete()),
    abort: () => request(`abort of ${key}`, () => parts.abort()),
  });
  const faulty: FaultyStorage = {
    faults: { ...NO_FAULTS, ...options.faults },
    met: 0,
    put: (key, bytes, condition) => request(`put ${key}`, () => storage.put(key, bytes, condition)),
    get: (key, range) => request(`get ${key}`, () => storage.get(key, range)),
    getTagged: (key) => request(`get ${key}`, () => storage.getTagged(key)),
    list: (prefix) => request(`list ${prefix}`, () => storage.list(prefix)),
    delete: (keys) => request('delete', () => storage.delete(keys)),
    beginParts: (key) =>
      request(`upload of ${key}`, async () => faultyParts(key, await storage.beginParts(key))),
  };
  return faulty;
}
