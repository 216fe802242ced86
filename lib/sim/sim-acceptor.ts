/**
 * A safekeeper's Durable Object, as acceptor-shell.ts runs the step: inputs gather while a sync runs, a batch of steps
 * is one transaction, answers leave when it is durable, positions may be saved late. It can crash at any moment, and
 * sleep when nothing is under way; then its sockets live on with what their attachments say.
 */
import { emptyLog, needsSync, startAcceptor, statusOf } from '../consensus/acceptor.ts';
import type {
  AcceptorConnection,
  AcceptorInput,
  AcceptorRead,
  AcceptorState,
  AcceptorStatus,
  AcceptorWrite,
} from '../consensus/acceptor-state.ts';
import { backupDuty } from '../consensus/backup.ts';
import type { AcceptorNumber, Configuration } from '../consensus/configuration.ts';
import { reachOf, type LogReach } from '../consensus/log-head.ts';
import { NO_LIMIT, type AcceptorMessage, type ProposerMessage } from '../consensus/messages.ts';
import { lsnPlus, type Lsn } from '../postgres/lsn.ts';
import { Disk } from './disk.ts';
import type { Link } from './link.ts';
import { show } from './show.ts';
import { at, duration, fault, START, TIMELINE, type World } from './world.ts';

/** Ticks after which positions are saved by themselves. */
const POSITIONS_TICKS = 60;
/** A tick for so many milliseconds of the backup's patience. */
const PATIENCE_MS_PER_TICK = 1000;
const BACKUP_RETRY_TICKS = 40;

interface Attachments {
  connections: ReadonlyMap<number, AcceptorConnection>;
  writing: number | null;
  backupBy: AcceptorNumber;
  left: boolean;
}

export class SimAcceptor {
  readonly number: AcceptorNumber;
  readonly #world: World;
  disk: Disk;
  state: AcceptorState;
  readonly #links = new Map<number, Link>();
  readonly #proposerIds = new Map<number, string>();
  #queue: AcceptorInput[] = [];
  #syncing = false;
  #unsavedPositions: AcceptorWrite | null = null;
  #positionsTimer = false;
  /** Counts lives: what was set down in an earlier one is void. */
  #life = 0;
  #attachments: Attachments;
  #copying = false;
  #waiters: { generation: number; answer: (status: AcceptorStatus) => void }[] = [];
  /** To be answered after the sync. */
  #asked: (() => void)[] = [];
  nextConnection = 1;
  /** Proposers from this number on cannot reach it: a partition. */
  hiddenFrom = Number.MAX_SAFE_INTEGER;
  down = false;
  removed = false;

  constructor(world: World, number: AcceptorNumber) {
    this.#world = world;
    this.number = number;
    this.disk = new Disk(START, emptyLog(START));
    this.state = startAcceptor(TIMELINE, number, this.disk.log);
    this.#attachments = this.state;
    world.checker.addAcceptor(number, this.disk);
  }

  connect(link: Link): void {
    this.#links.set(link.id, link);
    this.#proposerIds.set(link.id, link.proposer.state.config.proposerId);
  }
  receive(link: Link, message: ProposerMessage): void {
    if (this.#links.get(link.id) !== link) return;
    this.#world.trace?.(`p${link.proposer.id} → a${this.number}  ${show(message)}`);
    this.#take({ type: 'message', connection: link.id, message });
  }
  disconnected(link: Link): void {
    if (!this.#links.delete(link.id)) return;
    this.#take({ type: 'disconnected', connection: link.id });
  }
  /** The control plane's call: answered when it is durable. */
  configure(configuration: Configuration, answer: (status: AcceptorStatus) => void): void {
    if (this.down || this.removed) return;
    this.#waiters.push({ generation: configuration.generation, answer });
    this.#take({ type: 'configure', configuration });
  }
  backedUp(backupLsn: Lsn): void {
    if (!this.down && !this.removed) this.#take({ type: 'backedUp', backupLsn });
  }
  /** The control plane asks how far the log reaches; what is told is durable by then. */
  reach(answer: (reach: LogReach) => void): void {
    if (this.down || this.removed) return;
    const reach = reachOf(this.state.log);
    if (this.#syncing) this.#asked.push(() => answer(reach));
    else answer(reach);
  }
  learnCommit(term: number, commitLsn: Lsn): void {
    this.#take({ type: 'committed', term, commitLsn });
  }
  room(limitLsn: Lsn): void {
    if (!this.down && !this.removed) this.#take({ type: 'room', limitLsn });
  }

  #take(input: AcceptorInput): void {
    if (this.down || this.removed) return;
    this.#queue.push(input);
    if (!this.#syncing) this.#runBatch();
  }

  #runBatch(): void {
    const world = this.#world;
    const { checker, seams } = world;
    const inputs = this.#queue;
    this.#queue = [];
    const before = this.state;
    const writes: AcceptorWrite[] = [];
    const answers: { connection: number; message: AcceptorMessage }[] = [];
    const reads: AcceptorRead[] = [];
    let followed = false;
    for (const input of inputs) {
      world.steps++;
      const was = this.state;
      const output = seams.stepAcceptor(was, input);
      this.state = output.state;
      for (const write of output.writes) {
        writes.push(write);
        if (write.type === 'history') followed = true;
        if (write.type === 'begin') checker.begins(this.number, write.lsn);
      }
      for (const message of output.messages) answers.push(message);
      for (const read of output.reads) reads.push(read);
      for (const { connection, reason, detail } of output.refusals) {
        if (output.state.log !== was.log && input.type === 'message' && input.connection === connection) {
          throw new Error(`a${this.number}: a refused message changed the log`);
        }
        this.#refuse(connection, `${reason}: ${detail}`);
      }
    }
    const { log } = this.state;
    const afterWrites = (): void => {
      if (log.commitLsn !== before.log.commitLsn) {
        // The bytes are on the disk now.
        checker.acceptorCommit(this.number, before.log.commitLsn, log.commitLsn);
      }
    };
    const positions = writes.findLast((write) => write.type === 'positions');
    if (positions !== undefined) this.#unsavedPositions = positions;
    const finish = (): void => {
      this.#remember();
      this.#answer(answers);
      for (const read of reads) this.#answerRead(read);
      this.#answerWaiters();
      this.#progress();
    };
    if (!needsSync(writes)) {
      afterWrites();
      this.#savePositionsSoon();
      finish();
      if (this.#queue.length > 0 && !this.#syncing) this.#runBatch();
      return;
    }
    const transaction = writes.filter((write) => write.type !== 'positions');
    let cutLsn = Number.MAX_SAFE_INTEGER;
    for (const write of transaction) {
      if (write.type === 'truncate' && write.lsn < cutLsn) cutLsn = write.lsn;
    }
    this.disk.apply(seams.stored(transaction));
    checker.applied(this.number, log, before.log, cutLsn, followed);
    afterWrites();
    if (!seams.answersAfterSync) this.#answer(answers.splice(0));
    this.#syncing = true;
    const life = this.#life;
    world.agenda.after(duration(world, world.options.syncTicks), () => {
      if (life !== this.#life) return;
      world.steps++;
      this.disk.sync();
      this.#syncing = false;
      checker.synced(this.number);
      for (const answer of this.#asked.splice(0)) answer();
      this.#savePositionsSoon();
      finish();
      if (this.#queue.length > 0 && !this.#syncing) this.#runBatch();
    });
  }
  #answer(answers: readonly { connection: number; message: AcceptorMessage }[]): void {
    for (const { connection, message } of answers) {
      this.#world.checker.told(this.number, message, this.#proposerIds.get(connection) ?? '');
      this.#links.get(connection)?.toProposer(message);
    }
  }
  #answerWaiters(): void {
    const { log } = this.state;
    const waiting = this.#waiters;
    if (waiting.length === 0) return;
    this.#waiters = [];
    for (const waiter of waiting) {
      if (log.configuration.generation >= waiter.generation) waiter.answer(statusOf(log));
      else this.#waiters.push(waiter);
    }
  }

  #savePositionsSoon(): void {
    if (this.#unsavedPositions === null) return;
    if (this.state.left || this.state.writing === null) {
      this.#savePositions();
      return;
    }
    if (this.#positionsTimer) return;
    this.#positionsTimer = true;
    const life = this.#life;
    this.#world.agenda.after(POSITIONS_TICKS, () => {
      if (life !== this.#life) return;
      this.#positionsTimer = false;
      this.#savePositions();
    });
  }
  #savePositions(): void {
    if (this.#unsavedPositions === null) return;
    this.#world.steps++;
    this.disk.apply([this.#unsavedPositions]);
    this.#unsavedPositions = null;
    if (!this.#syncing && this.#world.random.once(2)) this.disk.sync();
  }

  #remember(): void {
    const { connections, writing, backupBy, left } = this.state;
    this.#attachments = { connections, writing, backupBy, left };
  }

  #answerRead({ connection, term, beginLsn, endLsn, bytesMax }: AcceptorRead): void {
    const link = this.#links.get(connection);
    if (link === undefined) return;
    const found = this.#readWal(beginLsn, endLsn, bytesMax);
    const { wal, recordEndLsn } = found ?? { wal: new Uint8Array(0), recordEndLsn: beginLsn };
    link.toProposer({ type: 'wal', term, beginLsn, recordEndLsn, wal });
  }
  /** From here, or from object storage, which may be out of reach. */
  #readWal(fromLsn: number, endLsn: number, bytesMax: number): { wal: Uint8Array; recordEndLsn: Lsn } | null {
    const local = this.disk.read(fromLsn, endLsn, bytesMax);
    if (local !== null) return local;
    const { checker } = this.#world;
    // Nothing that is here: beyond its commit position this log may be another one than what is committed.
    const { localBeginLsn } = this.disk;
    const to = Math.min(
      endLsn,
      this.state.log.backupLsn,
      checker.backedUpLsn,
      localBeginLsn,
      fromLsn + bytesMax,
    );
    if (to <= fromLsn || this.#storeFails()) return null;
    return { wal: checker.committed.slice(fromLsn - START, to - START), recordEndLsn: START };
  }
  #storeFails(): boolean {
    const { faulty, random, options } = this.#world;
    if (!faulty || !random.once(options.storeFailsOnceIn)) return false;
    fault(this.#world, 'object store failed');
    return true;
  }

  #refuse(connection: number, detail: string): void {
    const link = this.#links.get(connection);
    this.#links.delete(connection);
    if (link === undefined) return;
    this.#world.trace?.(`a${this.number} refuses p${link.proposer.id}: ${detail}`);
    this.#queue.push({ type: 'disconnected', connection });
    link.endAtAcceptor();
  }

  /** Backs up what is due, if that is this one's task. */
  #progress(): void {
    const { left, writing, backupBy, log } = this.state;
    const proposerWrites = writing !== null && !left;
    if (this.#copying || !this.#backupDue(proposerWrites)) return;
    const delayMs = backupDuty({
      number: this.number,
      configuration: log.configuration,
      backupBy,
      proposerWrites,
    });
    if (delayMs === null) return;
    this.#copying = true;
    const life = this.#life;
    const ticks = delayMs / PATIENCE_MS_PER_TICK + duration(this.#world, 10);
    this.#world.agenda.after(ticks, () => {
      if (life !== this.#life) return;
      this.#copying = false;
      this.#copy();
    });
  }
  #segmentEnd(lsn: number): number {
    const { segmentBytes } = this.#world.options;
    return START + (Math.floor((lsn - START) / segmentBytes) + 1) * segmentBytes;
  }
  #backupDue(proposerWrites: boolean): boolean {
    const { backupLsn } = this.state.log;
    const end = this.#world.seams.backupEnd(this.state.log);
    return (
      end >= this.#segmentEnd(backupLsn) || (!proposerWrites && end > Math.max(backupLsn, this.#tailLsn))
    );
  }
  #tailLsn = 0;

  /** One finished segment, or the tail when no proposer writes. */
  #copy(): void {
    const world = this.#world;
    world.steps++;
    const { writing, left, log } = this.state;
    if (!this.#backupDue(writing !== null && !left)) return;
    const limit = world.seams.backupEnd(log);
    const segmentEnd = this.#segmentEnd(log.backupLsn);
    const endLsn = Math.min(segmentEnd, limit);
    const bytes = new Uint8Array(endLsn - log.backupLsn);
    for (let done = 0; done < bytes.length;) {
      const found = this.#readWal(log.backupLsn + done, endLsn, bytes.length - done);
      if (found === null) return this.#copyLater();
      bytes.set(found.wal, done);
      done += found.wal.length;
    }
    if (this.#storeFails()) return this.#copyLater();
    if (limit < segmentEnd) {
      world.checker.backsUp(this.number, bytes, log.backupLsn);
      this.#tailLsn = endLsn;
      return;
    }
    world.checker.backsUp(this.number, bytes, log.backupLsn);
    world.checker.hasSegment(segmentEnd);
    world.trace?.(`a${this.number} has backed up to ${at(segmentEnd)}`);
    this.backedUp(segmentEnd as Lsn);
    world.agenda.after(1, () => {
      if (!this.#copying && this.#backupDue(true)) this.#copy();
    });
    for (const peer of world.acceptors.values()) {
      if (peer === this || (world.faulty && world.random.once(world.options.controlLostOnceIn))) continue;
      world.agenda.after(duration(world, 20), () => peer.backedUp(segmentEnd as Lsn));
    }
  }
  #copyLater(): void {
    this.#copying = true;
    const life = this.#life;
    this.#world.agenda.after(BACKUP_RETRY_TICKS, () => {
      if (life !== this.#life) return;
      this.#copying = false;
      this.#progress();
    });
  }

  /** The shell's trimming, as often as it likes. */
  trim(): void {
    if (this.down || this.removed || this.#syncing || this.disk.unsynced > 0) return;
    const { log } = this.state;
    const { checker, options, seams } = this.#world;
    const limit = seams.trimLimit(
      { ...log, remoteConsistentLsn: checker.ingestedLsn as Lsn },
      { endLsn: log.writtenLsn, keptBytesMax: 4 * options.segmentBytes },
    );
    const before = (START + Math.floor((limit - START) / options.segmentBytes) * options.segmentBytes) as Lsn;
    if (before <= this.disk.localBeginLsn || before >= log.writtenLsn) return;
    this.#world.steps++;
    this.#world.trace?.(`a${this.number} trims up to ${at(before)}`);
    checker.trims(this.number, before);
    this.disk.trim(before);
  }

  /** The process dies; what was not synced is there or not. */
  crash(): void {
    if (this.down || this.removed) return;
    const { random, seams } = this.#world;
    const kept = random.below(this.disk.unsynced + 1);
    this.#world.trace?.(`a${this.number} crashes, ${this.disk.unsynced - kept} transactions are lost`);
    if (seams.atomicTransactions) this.disk.crash(kept);
    else this.disk.tear(kept);
    this.down = true;
    this.#life++;
    for (const link of this.#links.values()) {
      this.#links.delete(link.id);
      link.endAtAcceptor();
    }
  }
  start(): void {
    if (!this.down || this.removed) return;
    this.down = false;
    this.#reset();
    this.#world.checker.restarted(this.number);
    this.state = startAcceptor(TIMELINE, this.number, this.disk.log);
    this.#remember();
    this.#progress();
  }
  /** The storage is gone, and the object comes back empty: which must never happen under its old number. */
  forgetEverything(): void {
    this.crash();
    this.disk = new Disk(START, emptyLog(START));
    this.#world.checker.addAcceptor(this.number, this.disk);
    this.start();
  }
  #reset(): void {
    this.#queue = [];
    this.#syncing = false;
    this.#unsavedPositions = null;
    this.#positionsTimer = false;
    this.#copying = false;
    this.#waiters = [];
    this.#asked = [];
    this.#life++;
  }

  /** Hibernation: only when nothing is under way. Memory is gone, the sockets are not. */
  sleep(): boolean {
    const busy = this.#syncing || this.#queue.length > 0 || this.#unsavedPositions !== null;
    if (this.down || this.removed || busy || this.#positionsTimer || this.#copying) return false;
    this.#world.trace?.(`a${this.number} sleeps`);
    this.disk.sync();
    this.#world.checker.synced(this.number);
    this.#reset();
    this.state = {
      ...startAcceptor(TIMELINE, this.number, this.disk.log),
      ...this.#attachments,
      limitLsn: NO_LIMIT,
    };
    return true;
  }

  /** Replaced: its storage is deleted. */
  remove(): void {
    this.crash();
    this.removed = true;
    this.#world.acceptors.delete(this.number);
    this.#world.checker.removeAcceptor(this.number);
  }

  describe(): string {
    const { log } = this.state;
    const history = log.history.map((entry) => `${entry.term}${at(entry.lsn)}`).join(' ');
    const flags = this.down ? ' down' : '';
    return `a${this.number}${flags} term=${log.term} flush=${at(log.flushLsn)} written=${at(log.writtenLsn)} commit=${at(log.commitLsn)} backup=${at(log.backupLsn)} history=[${history}] configuration=${log.configuration.generation}`;
  }
}

export const someRoom = (acceptor: SimAcceptor, bytes: number): Lsn =>
  lsnPlus(acceptor.state.log.writtenLsn, bytes);
