/**
 * Copies committed WAL to object storage: each finished segment, and the unfinished one when its proposer leaves.
 *
 *   000000010000000000000003                            16 MiB
 *   000000010000000000000004.00000000043A1B28.partial   the segment's bytes before that LSN
 *
 * The safekeeper whose turn it is does so (lib/consensus/backup.ts): the one that the proposer named; when it has left the
 * others too, each later than the one before, unless they hear that it is done. A segment of committed WAL has one content, so a put may be
 * repeated, by whomever; one that is there already is left alone. An alarm repeats a run that did not end.
 */
import { formatLsn, lsnPlus, parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { segmentStart, WAL_SEGMENT_BYTES } from '../../lib/postgres/wal/geometry.ts';
import type { SafekeeperStore } from './store.ts';
import { RECORD_END, segmentKey, type WalSource } from './wal-source.ts';

/** A run that did not end, for its object died, is started again after this time. */
const UNFINISHED_MS = 60_000;
/** Pauses after failures; each is twice as long as the one before. */
const PAUSE_FIRST_MS = 1000;
const PAUSE_MAX_MS = 60_000;

interface Host {
  store: SafekeeperStore;
  source: WalSource;
  bucket: R2Bucket;
  storage: DurableObjectStorage;
  commitLsn(): Lsn;
  /** Finished segments before `backupLsn` are in object storage. */
  onBackedUp(): void;
}

export const partialKey = (key: string, endLsn: Lsn): string =>
  `${key}.${endLsn.toString(16).toUpperCase().padStart(16, '0')}.partial`;

export class WalBackup {
  readonly #host: Host;
  #running: Promise<void> | null = null;
  #again: { tail: boolean } | null = null;
  /** Object storage failed: until the alarm, so long after the failure, it is left alone. */
  #pauseMs = 0;
  #nextPauseMs = PAUSE_FIRST_MS;
  /** Why the last run did not end; null when it did. */
  failure: string | null = null;

  constructor(host: Host) {
    this.#host = host;
  }

  /** True when there is something to copy: a finished segment, or with `tail` anything at all. */
  due(tail: boolean): boolean {
    return this.#pauseMs === 0 && this.#lacks(tail);
  }
  #lacks(tail: boolean): boolean {
    const { backupLsn, partialLsn } = this.#host.store.positions;
    const commitLsn = this.#host.commitLsn();
    if (commitLsn >= this.#segmentEnd(backupLsn)) return true;
    return tail && commitLsn > partialLsn && commitLsn > backupLsn;
  }

  /** By the alarm: what failed before, or did not end, is tried again. */
  async retry(tail: boolean, isDuty: boolean): Promise<void> {
    this.#pauseMs = 0;
    this.#waiting = false;
    if (isDuty) await this.run(tail);
  }

  /** After so long, unless a peer says before that it has done it: the one whose turn it is may have died. */
  async later(delayMs: number): Promise<void> {
    if (this.#waiting || this.#running !== null) return;
    this.#waiting = true;
    await this.#host.storage.setAlarm(Date.now() + delayMs);
  }
  /** A peer has said how far it has copied. */
  async heard(): Promise<void> {
    if (!this.#waiting || this.due(true)) return;
    this.#waiting = false;
    await this.#host.storage.deleteAlarm();
  }
  #waiting = false;

  /** Copies what is due. One run at a time; a call during a run makes it look again. */
  run(tail: boolean): Promise<void> {
    if (this.#running !== null) {
      this.#again = { tail: tail || this.#again?.tail === true };
      return this.#running;
    }
    if (!this.due(tail)) return Promise.resolve();
    this.#running = this.#run(tail).finally(() => {
      this.#running = null;
      const again = this.#again;
      this.#again = null;
      if (again !== null && this.due(again.tail)) void this.run(again.tail);
    });
    return this.#running;
  }

  async #run(tail: boolean): Promise<void> {
    const { store, storage } = this.#host;
    await storage.setAlarm(Date.now() + UNFINISHED_MS);
    try {
      while (this.#host.commitLsn() >= this.#segmentEnd(store.positions.backupLsn)) {
        await this.#copySegment(store.positions.backupLsn);
        const backupLsn = this.#segmentEnd(store.positions.backupLsn);
        store.savePositions({ backupLsn, partialLsn: backupLsn });
        this.#host.onBackedUp();
      }
      if (tail && this.#lacks(true)) await this.#copyTail();
    } catch (error) {
      // Object storage is out of reach: nothing is lost, and the alarm tries again.
      this.failure = String(error);
      this.#pauseMs = this.#nextPauseMs;
      this.#nextPauseMs = Math.min(2 * this.#pauseMs, PAUSE_MAX_MS);
      console.warn(`WAL backup of ${store.describe()} failed, again in ${this.#pauseMs} ms: ${this.failure}`);
      await storage.setAlarm(Date.now() + this.#pauseMs);
      return;
    }
    this.failure = null;
    this.#nextPauseMs = PAUSE_FIRST_MS;
    await storage.deleteAlarm();
  }

  #segmentEnd(position: Lsn): Lsn {
    return lsnPlus(segmentStart(position), WAL_SEGMENT_BYTES);
  }

  async #copySegment(position: Lsn): Promise<void> {
    const { bucket, store } = this.#host;
    const key = segmentKey(store.timeline, position);
    const present = await bucket.head(key);
    if (present?.size !== WAL_SEGMENT_BYTES) {
      const { bytes, recordEndLsn } = await this.#read(this.#segmentEnd(position));
      const customMetadata = { [RECORD_END]: formatLsn(recordEndLsn) };
      await bucket.put(key, bytes, { customMetadata });
    }
    await this.#deletePartials(key, null);
  }

  async #copyTail(): Promise<void> {
    const { bucket, store } = this.#host;
    const commitLsn = this.#host.commitLsn();
    const key = segmentKey(store.timeline, store.positions.backupLsn);
    const name = partialKey(key, commitLsn);
    await bucket.put(name, (await this.#read(commitLsn)).bytes);
    store.savePositions({ partialLsn: commitLsn });
    this.#host.onBackedUp();
    await this.#deletePartials(key, name);
  }

  /** The bytes of `endLsn`'s segment before it; zeros before the timeline's start. */
  async #read(endLsn: Lsn): Promise<{ bytes: Uint8Array; recordEndLsn: Lsn }> {
    const { store, source } = this.#host;
    const begin = segmentStart(lsnPlus(endLsn, -1));
    const startLsn = parseLsn(store.timeline.startLsn);
    const bytes = new Uint8Array(endLsn - begin);
    let recordEndLsn = startLsn;
    for (let at = begin > startLsn ? begin : startLsn; at < endLsn;) {
      const found = await source.read({ fromLsn: at, endLsn, bytesMax: 1 << 20 });
      if (found === null) throw new Error(`WAL at ${at} is missing: ${store.describe()}`);
      bytes.set(found.wal, at - begin);
      at = lsnPlus(at, found.wal.length);
      if (found.recordEndLsn > recordEndLsn) recordEndLsn = found.recordEndLsn;
    }
    return { bytes, recordEndLsn };
  }

  async #deletePartials(key: string, except: string | null): Promise<void> {
    const { objects } = await this.#host.bucket.list({ prefix: `${key}.` });
    const stale = objects
      .map((object) => object.key)
      .filter((name) => name.endsWith('.partial') && (except === null || name < except));
    if (stale.length > 0) await this.#host.bucket.delete(stale);
  }
}
