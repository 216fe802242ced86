/**
 * Tells the control plane of roles made or changed by SQL, by watching the WAL for pg_authid.
 *
 *   clean ──record touches pg_authid──► touched ──a transaction ends──► pg_authid is read and reported
 *     ▲                                    ▲                               │
 *     └── every toucher has ended ─────────┴── one is still open ──────────┘  (read again, ever more slowly)
 *
 * A WAL record comes before its transaction's end is visible, hence the second look. `observe` runs for every
 * record, so in the usual case it does no more than compare a few numbers.
 */
import { RM } from '../../../lib/postgres/wal/facts.ts';
import type { WalRecord } from '../../../lib/postgres/wal/record.ts';
import type { RolesReport } from '../../../lib/protocol/specs.ts';
import type { RolesSnapshot } from './apply.ts';

export interface RoleWatchOptions {
  read: () => Promise<RolesSnapshot>;
  report: (report: RolesReport) => Promise<void>;
  onError: (error: unknown) => void;
}

const GLOBAL_TABLESPACE = 1664;
const DELAY_FIRST_MS = 20;
const DELAY_LAST_MS = 5000;

export class RoleWatch {
  readonly #options: RoleWatchOptions;
  /** Of pg_authid; null until it was read: any shared catalog may be it. */
  #relNumber: number | null = null;
  /** The newest transaction that touched pg_authid and is not known to have ended; null: clean. */
  #toucher: number | null = null;
  #reported = '';
  #timer: NodeJS.Timeout | null = null;
  #delayMs = DELAY_FIRST_MS;
  /** Before the first `refresh` nothing can be read yet. */
  #started = false;
  #closed = false;

  constructor(options: RoleWatchOptions) {
    this.#options = options;
  }

  /** Sees every record of the WAL, in order. Keeps nothing of it. */
  observe(record: WalRecord): void {
    if (this.#touches(record)) {
      if (this.#toucher === null || newer(record.xid, this.#toucher)) this.#toucher = record.xid;
      this.#delayMs = DELAY_FIRST_MS;
    } else if (this.#toucher !== null && record.resourceManager === RM.XACT) {
      this.#delayMs = DELAY_FIRST_MS;
      this.#schedule();
    }
  }

  /** Records without a transaction (pruning, freezing) change no role. */
  #touches(record: WalRecord): boolean {
    if (record.xid === 0) return false;
    for (let i = 0; i < record.blockCount; i++) {
      const { spcOid, relNumber } = record.blocks[i];
      if (spcOid === GLOBAL_TABLESPACE && (this.#relNumber === null || relNumber === this.#relNumber))
        return true;
    }
    return record.resourceManager === RM.RELMAP; // pg_authid may get another file
  }

  /** Reads and reports now; whatever fails is tried again. The first call begins the watch. */
  async refresh(): Promise<void> {
    this.#started = true;
    try {
      const { report, xmin, relNumber } = await this.#options.read();
      this.#relNumber = relNumber;
      const text = JSON.stringify(report);
      if (text !== this.#reported) await this.#options.report(report);
      this.#reported = text;
      if (this.#toucher !== null && newer(xmin % 2 ** 32, this.#toucher)) this.#toucher = null;
    } catch (error) {
      if (this.#closed) return;
      this.#options.onError(error);
      this.#schedule();
      return;
    }
    if (this.#toucher !== null) this.#schedule();
  }

  #schedule(): void {
    if (this.#timer !== null || !this.#started || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.refresh();
    }, this.#delayMs);
    this.#delayMs = Math.min(DELAY_LAST_MS, this.#delayMs * 2);
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }
}

/** TransactionIdFollows: 32-bit ids in a circle. */
const newer = (a: number, b: number): boolean => ((a - b) | 0) > 0;
