/**
 * The state of a timeline at its head: all that a WAL record must be judged against, in memory.
 *
 * It is what the keys other than pages say as of the last ingested record, so after a restart it is loaded from
 * them. Only ingest changes it; `emitChanged` writes what one record changed back to those keys.
 */
import { CheckPoint, type CheckPointFields } from '../../postgres/checkpoint.ts';
import { decodeControlFile, encodeControlFile, type ControlFileFields } from '../../postgres/control-file.ts';
import type { Lsn } from '../../postgres/lsn.ts';
import {
  CHECKPOINT_KEY,
  COMMIT_TIME_KEY,
  CONTROL_FILE_KEY,
  formatKey,
  kindRange,
  parseKey,
  type Key,
  type KeyKind,
} from '../key.ts';
import { encodeOperation } from '../page-operation.ts';
import { decodeSize, decodeTimestamp, imageValue, timestampValue, type Emit } from '../value.ts';
import type { StorageView } from '../view.ts';
import { advancePastXid } from './counters.ts';
import { FileTable } from './files.ts';

/** After so many nextXid operations the checkpoint fields are written whole, which bounds the chain of a read. */
const NEXT_XID_OPERATIONS_MAX = 256;

/** The keys of a timeline do not hold what every timeline has. */
export class StateError extends Error {
  override readonly name = 'StateError';
}

export async function readRequired(view: StorageView, key: Key): Promise<Uint8Array> {
  const content = await view.get(key);
  if (content === null) throw new StateError(`${formatKey(key)}: nothing is stored`);
  return content;
}

export class TimelineState {
  readonly files = new FileTable();
  readonly databases = new Set<Key>();
  readonly relationMaps = new Set<Key>();
  /** Prepared transactions: xid to key. */
  readonly twoPhase = new Map<number, Key>();
  readonly checkPoint: CheckPointFields;
  readonly controlFile: ControlFileFields;
  /** The newest time that a commit record has given: microseconds since 2000; null before the first. */
  commitTime: number | null = null;
  /** Start of the last ingested record; 0 before the first. */
  lastRecordLsn: Lsn;
  /** Offsets page that a CREATE_ID made before its ZERO_OFF_PAGE came; -1 for none (multixact_redo). */
  preInitializedOffsetsPage = -1;

  #countersChanged: 'no' | 'nextXid' | 'all' = 'no';
  #controlFileChanged = false;
  #nextXidOperations = NEXT_XID_OPERATIONS_MAX;

  private constructor(checkPoint: CheckPointFields, controlFile: ControlFileFields, lastRecordLsn: Lsn) {
    this.checkPoint = checkPoint;
    this.controlFile = controlFile;
    this.lastRecordLsn = lastRecordLsn;
  }

  /** Loads the state as of `view.lsn`. Throws StateError, ControlFileError, and what the view throws. */
  static async load(view: StorageView): Promise<TimelineState> {
    const [checkPoint, controlFile, commitTime] = await Promise.all([
      readRequired(view, CHECKPOINT_KEY).then((bytes) => CheckPoint.decode(bytes)),
      readRequired(view, CONTROL_FILE_KEY).then((bytes) => decodeControlFile(bytes)),
      view.get(COMMIT_TIME_KEY),
    ]);
    const state = new TimelineState(checkPoint, controlFile, view.previousLsn);
    if (commitTime !== null) state.commitTime = decodeTimestamp(commitTime);
    const each = async (kind: KeyKind, take: (key: Key, content: Uint8Array) => void): Promise<void> => {
      for await (const { key, content } of view.scan(kindRange(kind))) take(key, content);
    };
    // Beside each other: what they are in may be far away.
    await Promise.all([
      each('database', (key) => state.databases.add(key)),
      each('relationMap', (key) => state.relationMaps.add(key)),
      each('twoPhase', (key) => {
        const parts = parseKey(key);
        if (parts.kind === 'twoPhase') state.twoPhase.set(parts.xid, key);
      }),
      each('relationSize', (key, content) => state.files.load(key, decodeSize(content))),
      each('slruSegment', (key, content) => state.files.load(key, decodeSize(content))),
    ]);
    return state;
  }

  advancePastXid(xid: number): void {
    if (advancePastXid(this.checkPoint, xid) && this.#countersChanged === 'no') {
      this.#countersChanged = 'nextXid';
    }
  }
  /** Call after changing `checkPoint` otherwise than by `advancePastXid`. */
  countersChanged(): void {
    this.#countersChanged = 'all';
  }
  /**
   * A transaction has committed at `time`. Clocks and concurrent backends do not agree to the microsecond, so a commit counts
   * as of the newest time up to it: what the key says never goes back, and can be searched by halving.
   */
  committedAt(time: number, emit: Emit): void {
    if (this.commitTime !== null && time <= this.commitTime) return;
    this.commitTime = time;
    emit(COMMIT_TIME_KEY, timestampValue(time));
  }
  /** Call after changing `controlFile`. */
  controlFileChanged(): void {
    this.#controlFileChanged = true;
  }

  /** Emits what changed since the last call, but for pages, whole files and databases. */
  emitChanged(emit: Emit): void {
    this.files.emitChanged(emit);
    if (this.#controlFileChanged) {
      this.#controlFileChanged = false;
      emit(CONTROL_FILE_KEY, imageValue(encodeControlFile(this.controlFile)));
    }
    if (this.#countersChanged === 'no') return;
    if (this.#countersChanged === 'nextXid' && this.#nextXidOperations < NEXT_XID_OPERATIONS_MAX) {
      this.#nextXidOperations++;
      emit(CHECKPOINT_KEY, encodeOperation({ kind: 'nextXid', nextXid: this.checkPoint.nextXid }, false));
    } else {
      this.#nextXidOperations = 0;
      emit(CHECKPOINT_KEY, imageValue(CheckPoint.encode(this.checkPoint)));
    }
    this.#countersChanged = 'no';
  }
}
