/**
 * Safety, checked as things happen. Each violation names its invariant by the number in docs/CONSENSUS.md.
 *
 * Every elected proposer has a canonical log: what it took over, and what it writes. An acceptor that follows it must have
 * exactly that, byte for byte, and whatever anyone commits must be a beginning of it, of every later one, and of
 * what was committed before. Comparisons are incremental: a byte is looked at when it arrives, not at each step.
 */
import type { AcceptorLog } from '../consensus/acceptor-state.ts';
import { isMajority, type AcceptorNumber, type Configuration } from '../consensus/configuration.ts';
import type { LogHead } from '../consensus/log-head.ts';
import type { AcceptorMessage } from '../consensus/messages.ts';
import { lastTermOf, upTo, type TermHistory } from '../consensus/term-history.ts';
import { LOG_BYTES_MAX, type Disk } from './disk.ts';

export class Violation extends Error {
  override readonly name = 'Violation';
  readonly invariant: number;
  constructor(invariant: number, message: string) {
    super(`invariant ${invariant}: ${message}`);
    this.invariant = invariant;
  }
}

interface Leader {
  readonly term: number;
  readonly proposer: number;
  readonly wal: Uint8Array;
  readonly termStartLsn: number;
  endLsn: number;
}
interface Told {
  term: number;
  votedTerm: number;
  votedFor: string | null;
  flushLsn: number;
  /** Lowest cut that was applied since. */
  cutLsn: number;
  generation: number;
}
interface Holder {
  readonly disk: Disk;
  /** How many bytes of its durable log are known to be the committed ones. */
  matched: number;
  /** As far as it was synced. */
  durable: AcceptorLog;
  readonly told: Told;
  /** Lowest cut that is applied and not synced. */
  cutLsn: number;
}

const NEVER = Number.MAX_SAFE_INTEGER;

export class Checker {
  readonly startLsn: number;
  readonly committed = new Uint8Array(LOG_BYTES_MAX);
  committedLsn: number;
  /** What is in the object store, up to here. */
  backedUpLsn: number;
  /** What the pageserver has made safe. */
  ingestedLsn: number;
  readonly leaders = new Map<number, Leader>();
  readonly #holders = new Map<AcceptorNumber, Holder>();
  readonly #storesAll: boolean;
  #highest: Leader | null = null;
  #configuration: Configuration | null = null;

  /** `storesAll`: no planted bug lies between the writes and the disk. */
  constructor(startLsn: number, storesAll: boolean) {
    this.#storesAll = storesAll;
    this.startLsn = startLsn;
    this.committedLsn = startLsn;
    this.backedUpLsn = startLsn;
    this.ingestedLsn = startLsn;
  }

  addAcceptor(number: AcceptorNumber, disk: Disk): void {
    const told = { term: 0, votedTerm: 0, votedFor: null, flushLsn: 0, cutLsn: NEVER, generation: 0 };
    this.#holders.set(number, { disk, matched: 0, durable: disk.log, told, cutLsn: NEVER });
  }
  removeAcceptor(number: AcceptorNumber): void {
    this.#holders.delete(number);
  }

  /** The control plane has another one durably. */
  configured(configuration: Configuration): void {
    this.#configuration = configuration;
    if (!isMajority(configuration.members, (member) => this.#covers(member))) {
      throw new Violation(15, `members ${configuration.members.join(' ')} lack committed WAL`);
    }
  }

  /**
   * A proposer is elected. What it takes over is the log of the term that its history ends with before its own; that has
   * been canonical since that term's election.
   */
  elected(
    proposer: number,
    term: number,
    termStartLsn: number,
    history: TermHistory,
    voteCommitLsn: number,
  ): void {
    const before = this.leaders.get(term);
    if (before !== undefined) {
      throw new Violation(1, `term ${term} has leaders p${before.proposer} and p${proposer}`);
    }
    if (voteCommitLsn > termStartLsn) throw new Violation(3, `p${proposer} starts before what is committed`);
    const wal = new Uint8Array(LOG_BYTES_MAX);
    const donor = history.length > 1 ? this.leaders.get(history[history.length - 2].term) : undefined;
    if (donor !== undefined) wal.set(donor.wal.subarray(0, termStartLsn - this.startLsn));
    else if (termStartLsn > this.startLsn) throw new Violation(2, `p${proposer} takes over a log of nobody`);
    const leader: Leader = { term, proposer, wal, termStartLsn, endLsn: termStartLsn };
    this.leaders.set(term, leader);
    if (this.#highest !== null && term < this.#highest.term) return;
    this.#highest = leader;
    const known = this.committedLsn;
    if (termStartLsn < known) {
      throw new Violation(
        3,
        `p${proposer} starts term ${term} at @${this.#at(termStartLsn)}, committed is @${this.#at(known)}`,
      );
    }
    this.#compare(3, `log of p${proposer}`, wal, this.committed, 0, this.#at(known));
  }

  /** A leader has new WAL of its own. */
  wrote(term: number, bytes: Uint8Array): void {
    const leader = this.leaders.get(term)!;
    leader.wal.set(bytes, this.#at(leader.endLsn));
    leader.endLsn += bytes.length;
  }

  /** A proposer calls everything before `commitLsn` committed. */
  commits(proposer: number, term: number, fromLsn: number, commitLsn: number): void {
    if (commitLsn < fromLsn) throw new Violation(8, `p${proposer} takes its commit position back`);
    const leader = this.leaders.get(term);
    if (leader === undefined || leader.proposer !== proposer) {
      throw new Violation(5, `p${proposer} commits without being elected`);
    }
    const what = `commit of p${proposer}`;
    const both = Math.min(commitLsn, this.committedLsn);
    this.#compare(4, what, leader.wal, this.committed, this.#at(fromLsn), this.#at(both));
    if (commitLsn <= this.committedLsn) return;
    const later = this.#highest!;
    if (later.term > term) {
      if (commitLsn > later.termStartLsn) {
        throw new Violation(
          4,
          `p${proposer} of term ${term} commits what the leader of term ${later.term} lacks`,
        );
      }
      this.#compare(4, what, leader.wal, later.wal, 0, this.#at(commitLsn));
    }
    const from = this.#at(this.committedLsn);
    this.committed.set(leader.wal.subarray(from, this.#at(commitLsn)), from);
    this.committedLsn = commitLsn;
    const { members } = this.#configuration!;
    if (!isMajority(members, (member) => this.#covers(member))) {
      throw new Violation(4, `p${proposer} commits @${this.#at(commitLsn)}, which no majority has`);
    }
  }

  /** Writes were applied to the disk; `log` is the step's state, which they must amount to. */
  applied(
    number: AcceptorNumber,
    log: AcceptorLog,
    before: AcceptorLog,
    cutLsn: number,
    followed: boolean,
  ): void {
    const holder = this.#holders.get(number)!;
    const { disk, told } = holder;
    const now = disk.log;
    if (
      this.#storesAll &&
      (now.term !== log.term ||
        now.votedFor !== log.votedFor ||
        now.flushLsn !== log.flushLsn ||
        now.writtenLsn !== log.writtenLsn ||
        now.history !== log.history ||
        now.configuration !== log.configuration)
    ) {
      throw new Violation(7, `a${number}: its writes do not amount to its state`);
    }
    if (log.commitLsn > log.flushLsn || log.flushLsn > log.writtenLsn) {
      throw new Violation(
        6,
        `a${number}: commit ${log.commitLsn}, flush ${log.flushLsn}, written ${log.writtenLsn}`,
      );
    }
    if (log.term < before.term) throw new Violation(7, `a${number} goes back to term ${log.term}`);
    if (cutLsn < told.cutLsn) told.cutLsn = cutLsn;
    if (cutLsn < holder.cutLsn) holder.cutLsn = cutLsn;
    if (log.flushLsn !== before.flushLsn || followed) this.#followsLeader(number, holder, before, followed);
  }

  /** The log up to the flush position is a beginning of the log of the leader that it follows. */
  #followsLeader(number: AcceptorNumber, { disk }: Holder, before: AcceptorLog, whole: boolean): void {
    const { history, flushLsn } = disk.log;
    const leader = this.leaders.get(lastTermOf(upTo(history, flushLsn)));
    if (leader === undefined) return; // nothing has been written
    if (flushLsn > leader.endLsn) throw new Violation(2, `a${number} has more than its leader`);
    const from = whole
      ? disk.localBeginLsn
      : Math.max(disk.localBeginLsn, Math.min(before.flushLsn, flushLsn));
    this.#compare(2, `log of a${number}`, disk.wal, leader.wal, this.#at(from), this.#at(flushLsn));
  }

  /** What an acceptor knows to be committed. */
  acceptorCommit(number: AcceptorNumber, fromLsn: number, commitLsn: number): void {
    if (commitLsn < fromLsn) throw new Violation(8, `a${number} takes its commit position back`);
    if (commitLsn > this.committedLsn) throw new Violation(5, `a${number} commits what nobody committed`);
    const { disk } = this.#holders.get(number)!;
    const from = Math.max(fromLsn, disk.localBeginLsn);
    this.#compare(4, `a${number}`, disk.wal, this.committed, this.#at(from), this.#at(commitLsn));
  }

  /** Three safekeepers, or two of them, have said where the log ends; `acknowledgedLsn` was committed before they were asked. */
  headTold({ term, committedLsn, advancedLsn, settled }: LogHead, acknowledgedLsn: number): void {
    if (settled && committedLsn < acknowledgedLsn) {
      throw new Violation(
        18,
        `the head is told as @${this.#at(committedLsn)}, @${this.#at(acknowledgedLsn)} was committed`,
      );
    }
    if (advancedLsn < acknowledgedLsn) {
      throw new Violation(18, `the longest log lacks what was committed up to @${this.#at(acknowledgedLsn)}`);
    }
    if (committedLsn <= this.committedLsn) return;
    // What is told is as good as committed from now on.
    const leader = this.leaders.get(term);
    if (leader === undefined)
      throw new Violation(18, `the head is told of term ${term}, which has no leader`);
    this.commits(leader.proposer, term, this.startLsn, committedLsn);
  }

  synced(number: AcceptorNumber): void {
    const holder = this.#holders.get(number)!;
    const { log } = holder.disk;
    if (holder.cutLsn !== NEVER) holder.matched = Math.min(holder.matched, this.#at(holder.cutLsn));
    holder.cutLsn = NEVER;
    const lost = holder.durable.flushLsn > log.flushLsn && this.committedLsn > log.flushLsn;
    holder.durable = log;
    if (!lost || this.#configuration === null) return;
    if (!isMajority(this.#configuration.members, (member) => this.#covers(member))) {
      throw new Violation(4, `a${number} cut committed WAL that no majority has any more`);
    }
  }

  /** An acceptor answers: what it says must survive everything. */
  told(number: AcceptorNumber, message: AcceptorMessage, proposerId: string): void {
    const { told, durable } = this.#holders.get(number)!;
    if (message.type === 'vote' && message.given) {
      // Whoever was elected has the vote of everyone that follows it, to be told again.
      const isLeader = this.leaders.get(message.term)?.proposer === Number.parseInt(proposerId, 16);
      if (told.votedTerm === message.term && told.votedFor !== proposerId && !isLeader) {
        throw new Violation(1, `a${number} votes twice in term ${message.term}`);
      }
      told.votedTerm = message.term;
      told.votedFor = proposerId;
      if (durable.term < message.term) throw new Violation(7, `a${number} tells a vote that is not durable`);
    }
    if (message.type === 'vote' || message.type === 'position') {
      if (message.flushLsn > durable.flushLsn && told.cutLsn === NEVER) {
        throw new Violation(
          7,
          `a${number} tells @${this.#at(message.flushLsn)}, durable is @${this.#at(durable.flushLsn)}`,
        );
      }
      if (message.flushLsn <= durable.flushLsn) {
        told.flushLsn = message.flushLsn;
        told.cutLsn = NEVER;
      }
    }
    if (message.term < told.term) throw new Violation(7, `a${number} tells an older term`);
    told.term = message.term;
    if (message.type === 'greeting' || message.type === 'configuration') {
      told.generation = Math.max(told.generation, message.configuration.generation);
    }
  }

  /** After a crash: nothing that was told is forgotten. */
  restarted(number: AcceptorNumber): void {
    const holder = this.#holders.get(number)!;
    const { told, disk } = holder;
    const { log } = disk;
    if (log.term < told.term) throw new Violation(7, `a${number} forgot term ${told.term}`);
    if (log.term === told.votedTerm && told.votedFor !== null && log.votedFor === null) {
      throw new Violation(7, `a${number} forgot its vote in term ${told.votedTerm}`);
    }
    if (log.flushLsn < Math.min(told.flushLsn, told.cutLsn)) {
      throw new Violation(7, `a${number} forgot WAL up to @${this.#at(told.flushLsn)}`);
    }
    if (log.configuration.generation < told.generation) {
      throw new Violation(16, `a${number} forgot configuration ${told.generation}`);
    }
    holder.matched = Math.min(holder.matched, this.#at(Math.min(log.flushLsn, told.cutLsn)));
    holder.durable = log;
    holder.cutLsn = NEVER;
  }

  trims(number: AcceptorNumber, lsn: number): void {
    if (lsn > this.backedUpLsn) throw new Violation(12, `a${number} trims what is in no backup`);
    if (lsn > this.ingestedLsn) throw new Violation(12, `a${number} trims what the pageserver has not`);
    if (lsn > this.committedLsn) throw new Violation(12, `a${number} trims what is not committed`);
  }
  /** An acceptor's log goes on behind what is in object storage. */
  begins(number: AcceptorNumber, lsn: number): void {
    if (lsn > this.backedUpLsn) throw new Violation(12, `a${number} begins at what is in no backup`);
    this.#holders.get(number)!.disk.wal.set(this.committed.subarray(0, this.#at(lsn)));
  }
  backsUp(number: AcceptorNumber, bytes: Uint8Array, fromLsn: number): void {
    const endLsn = fromLsn + bytes.length;
    if (endLsn > this.committedLsn) throw new Violation(13, `a${number} backs up what is not committed`);
    for (let i = 0, at = this.#at(fromLsn); i < bytes.length; i++, at++) {
      if (bytes[i] !== this.committed[at])
        throw new Violation(13, `a${number} backs up other bytes at @${at}`);
    }
  }
  /** A finished segment is there. */
  hasSegment(endLsn: number): void {
    if (endLsn > this.backedUpLsn) this.backedUpLsn = endLsn;
  }

  #covers(number: AcceptorNumber): boolean {
    const holder = this.#holders.get(number);
    if (holder === undefined || holder.durable.flushLsn < this.committedLsn) return false;
    if (holder.cutLsn < this.committedLsn) return false;
    const end = this.#at(this.committedLsn);
    const { wal } = holder.disk;
    while (holder.matched < end && wal[holder.matched] === this.committed[holder.matched]) holder.matched++;
    return holder.matched >= end;
  }

  #compare(invariant: number, what: string, a: Uint8Array, b: Uint8Array, from: number, to: number): void {
    for (let i = from; i < to; i++) {
      if (a[i] !== b[i])
        throw new Violation(invariant, `${what} differs at @${i}: ${a[i]}, ${b[i]} expected`);
    }
  }
  #at(lsn: number): number {
    return lsn - this.startLsn;
  }
}
