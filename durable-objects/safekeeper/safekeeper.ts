/**
 * Safekeeper: one of the three that hold a timeline's log. A commit is one when two of them have it durably.
 *
 *   WebSocket /            a proposer (lib/consensus; X-Ebb-Timeline, X-Ebb-Safekeeper set by the egress handler)
 *   WebSocket /wal?from=   a reader of committed WAL (lib/protocol/wal-stream.ts)
 *   GET /inspect/status    GET /inspect/wal?from=&to=[&uncommitted=1]
 *
 * The object's name is `${projectId}/${timelineId}/${number}`. It stores nothing until the first proposer
 * comes; before that, readers are told 404 and come again. Close codes are REFUSALS in lib/consensus/messages.ts.
 */
import { DurableObject } from 'cloudflare:workers';
import { reachOf, type LogReach } from '../../lib/consensus/log-head.ts';
import { formatLsn, lsn, parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import type { LastRecord } from '../../lib/postgres/wal/last-record.ts';
import { segmentStart } from '../../lib/postgres/wal/geometry.ts';
import { safekeeperName } from '../../lib/protocol/safekeepers.ts';
import type { TimelineSpec } from '../../lib/protocol/specs.ts';
import type { AcceptorStatus } from '../../lib/consensus/acceptor.ts';
import { ACCEPTOR_NUMBER_MAX, type Configuration } from '../../lib/consensus/configuration.ts';
import { backupDuty } from '../../lib/consensus/backup.ts';
import { AcceptorShell } from './acceptor-shell.ts';
import { inspectWal, peersOf, statusOf } from './inspect.ts';
import { lastRecordIn } from './log-questions.ts';
import {
  limitOf,
  retentionLimits,
  trimmableBefore,
  type RetentionEnv,
  type RetentionLimits,
} from './retention.ts';
import { parseTimeline } from './schema.ts';
import { SafekeeperStore } from './store.ts';
import { WalBackup } from './wal-backup.ts';
import { WalReaders } from './wal-readers.ts';
import { WalSource } from './wal-source.ts';

export interface SafekeeperEnv extends RetentionEnv {
  SAFEKEEPER: DurableObjectNamespace<Safekeeper>;
  BUCKET: R2Bucket;
}

/** What one safekeeper tells its peers, so that they can trim and read from object storage. LSNs as numbers. */
export interface PeerPositions {
  backupLsn: number;
  partialLsn: number;
  remoteConsistentLsn: number;
}

/** The parts of a safekeeper that has a timeline. */
export interface Parts {
  store: SafekeeperStore;
  source: WalSource;
  acceptor: AcceptorShell;
  readers: WalReaders;
  backup: WalBackup;
}

const failure = (status: number, code: string, message: string): Response =>
  Response.json({ code, message }, { status });

export class Safekeeper extends DurableObject<SafekeeperEnv> {
  readonly #limits: RetentionLimits;
  #parts: Parts | null = null;

  constructor(ctx: DurableObjectState, env: SafekeeperEnv) {
    super(ctx, env);
    this.#limits = retentionLimits(env);
    const store = SafekeeperStore.open(ctx.storage);
    if (store !== null) this.#parts = this.#assemble(store);
  }

  #assemble(store: SafekeeperStore): Parts {
    const source = new WalSource(store, this.env.BUCKET);
    const commitLsn = (): Lsn => acceptor.log.commitLsn;
    const acceptor = new AcceptorShell(
      {
        store,
        source,
        onProgress: () => this.#progress(),
        waitUntil: (promise) => this.ctx.waitUntil(promise),
        limitLsn: () => limitOf(store.localBeginLsn(), this.#limits),
        abort: (error) => this.ctx.abort(`storage failed: ${String(error)}`),
      },
      this.ctx.getWebSockets('acceptor'),
    );
    const readers = new WalReaders(
      {
        source,
        commitLsn,
        onRemoteConsistent: (position) => this.#learnRemoteConsistent(position),
        waitUntil: (promise) => this.ctx.waitUntil(promise),
      },
      this.ctx.getWebSockets('wal'),
    );
    const backup = new WalBackup({
      store,
      source,
      bucket: this.env.BUCKET,
      storage: this.ctx.storage,
      commitLsn,
      onBackedUp: () => {
        this.#noteBackup();
        this.#trim();
        this.#tellPeers();
      },
    });
    return { store, source, acceptor, readers, backup };
  }

  override async fetch(request: Request): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname === '/') return this.#connectProposer(request);
    const parts = this.#parts;
    if (parts === null) return failure(404, 'unknownTimeline', 'no proposer has ever come here');
    const { store, acceptor } = parts;
    switch (url.pathname) {
      case '/wal':
        return this.#connectReader(request, url, parts);
      case '/inspect/status':
        return Response.json(statusOf(parts, this.#limits));
      case '/inspect/wal':
        return inspectWal(url, store, acceptor.state);
      default:
        return failure(404, 'notFound', `a safekeeper has no ${url.pathname}`);
    }
  }

  #connectProposer(request: Request): Response {
    if (request.headers.get('Upgrade')?.toLowerCase() !== 'websocket') {
      return failure(426, 'upgradeRequired', 'a proposer comes by WebSocket');
    }
    let timeline: TimelineSpec;
    try {
      timeline = parseTimeline(request.headers.get('X-Ebb-Timeline') ?? 'null');
    } catch (error) {
      return failure(400, 'badRequest', String(error));
    }
    const number = Number(request.headers.get('X-Ebb-Safekeeper'));
    if (!(Number.isInteger(number) && number >= 1 && number <= ACCEPTOR_NUMBER_MAX)) {
      return failure(400, 'badRequest', `safekeeper ${number}: 1 to ${ACCEPTOR_NUMBER_MAX} expected`);
    }
    const name = safekeeperName(timeline, number);
    if (this.ctx.id.name !== undefined && this.ctx.id.name !== name) {
      return failure(400, 'badRequest', `this is safekeeper ${this.ctx.id.name}, not ${name}`);
    }
    this.#parts ??= this.#assemble(SafekeeperStore.create(this.ctx.storage, timeline, number));
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, ['acceptor']);
    server.serializeAttachment(this.#parts.acceptor.register(server));
    return new Response(null, { status: 101, webSocket: client });
  }

  #connectReader(request: Request, url: URL, { store, readers }: Parts): Response {
    let from: Lsn;
    try {
      from = parseLsn(url.searchParams.get('from') ?? '');
    } catch (error) {
      return failure(400, 'badRequest', String(error));
    }
    const { startLsn } = store.timeline;
    if (from < parseLsn(startLsn)) {
      return failure(416, 'outOfRange', `WAL begins at ${startLsn}: ${formatLsn(from)} is before it`);
    }
    if (request.headers.get('Upgrade')?.toLowerCase() !== 'websocket') {
      return failure(426, 'upgradeRequired', 'a reader comes by WebSocket');
    }
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, ['wal']);
    server.serializeAttachment(readers.register(server, from));
    this.ctx.waitUntil(readers.pumpAll());
    return new Response(null, { status: 101, webSocket: client });
  }

  override async webSocketMessage(socket: WebSocket, message: ArrayBuffer | string): Promise<void> {
    const parts = this.#parts;
    if (parts === null) return socket.close(1011, 'no timeline');
    if (this.#isReader(socket)) await parts.readers.receive(socket, message);
    else await parts.acceptor.receive(socket, message);
  }
  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    // 1005 and 1006 stand for a missing code and may not be sent.
    socket.close(code === 1005 || code === 1006 ? 1000 : code);
    await this.#socketEnded(socket);
  }
  override async webSocketError(socket: WebSocket): Promise<void> {
    await this.#socketEnded(socket);
  }
  async #socketEnded(socket: WebSocket): Promise<void> {
    if (this.#parts === null) return;
    if (this.#isReader(socket)) this.#parts.readers.closed(socket);
    else await this.#parts.acceptor.closed(socket);
  }
  #isReader(socket: WebSocket): boolean {
    if (this.#parts?.acceptor.has(socket) === true) return false; // by far the most
    return this.ctx.getTags(socket).includes('wal');
  }

  /** Repeats a backup that did not end, or that nobody else has made (wal-backup.ts). */
  override async alarm(): Promise<void> {
    const parts = this.#parts;
    if (parts === null) return;
    const { writing, left, backupBy } = parts.acceptor.state;
    const proposerWrites = writing !== null && !left;
    await parts.backup.retry(!proposerWrites, !proposerWrites || backupBy === parts.store.number);
  }

  /** RPC from a peer. What it says only ever grows. */
  learn(positions: PeerPositions): void {
    if (this.#parts === null) return;
    this.#parts.store.savePositions({
      backupLsn: lsn(positions.backupLsn),
      partialLsn: lsn(positions.partialLsn),
      remoteConsistentLsn: lsn(positions.remoteConsistentLsn),
    });
    this.ctx.waitUntil(this.#parts.backup.heard());
    this.#noteBackup();
    this.#trim();
  }

  /** RPC: how far this log reaches; null where no proposer has ever come. */
  async reach(): Promise<LogReach | null> {
    const parts = this.#parts;
    if (parts === null) return null;
    const reach = reachOf(parts.acceptor.log);
    await parts.store.sync(); // nothing is told that a crash could take back
    return reach;
  }

  /** RPC: the last record that ends at or before `at`; null when none does, or where `at` is beyond this log. */
  async lastRecord(at: number): Promise<LastRecord | null> {
    const parts = this.#parts;
    if (parts === null || at > parts.acceptor.log.flushLsn) return null;
    return lastRecordIn(parts.source, parts.store.timeline, lsn(at));
  }

  /** RPC: somebody who asked all three found that `commitLsn` is committed in `term`. From then on it is known here, durably. */
  async learnCommit(term: number, commitLsn: number): Promise<void> {
    if (this.#parts === null) return;
    const { acceptor, store } = this.#parts;
    await acceptor.learnCommit(term, lsn(commitLsn));
    acceptor.savePositions();
    await store.sync();
  }

  /** RPC from the control plane, which has it durably. Null where no proposer has ever come: nothing is here to configure. */
  async configure(configuration: Configuration): Promise<AcceptorStatus | null> {
    return this.#parts === null ? null : this.#parts.acceptor.configure(configuration);
  }

  /** RPC from a peer that was away. Null where no proposer has ever come. */
  told(): PeerPositions | null {
    return this.#parts?.store.positions ?? null;
  }

  /**
   * RPC: this one is no member any more. Its WAL goes; that it was here, its term and the configuration stay, so that
   * nobody who comes late takes it for an empty new one.
   */
  async retire(configuration: Configuration): Promise<void> {
    const parts = this.#parts;
    if (parts === null) return;
    await parts.acceptor.configure(configuration);
    for (const socket of this.ctx.getWebSockets()) socket.close(1001, 'no member any more');
    parts.store.dropWal();
    await this.ctx.storage.deleteAlarm();
  }

  /** RPC: forgets everything. */
  async remove(): Promise<void> {
    for (const socket of this.ctx.getWebSockets()) socket.close(1001, 'removed');
    this.#parts = null;
    await this.ctx.storage.deleteAlarm();
    await this.ctx.storage.deleteAll();
  }

  /** The acceptor has moved: push to readers, back up if that is this one's task. */
  #progress(): void {
    const parts = this.#parts;
    if (parts === null) return;
    const { store, acceptor, readers, backup } = parts;
    const { writing, left, backupBy } = acceptor.state;
    readers.pumpSoon();
    if (writing !== this.#askedFor) {
      this.#askedFor = writing;
      if (writing !== null) this.#askPeers();
    }
    this.#trim();
    const proposerWrites = writing !== null && !left;
    const { configuration } = acceptor.log;
    const dutyMs = backupDuty({ number: store.number, configuration, backupBy, proposerWrites });
    if (dutyMs === null || !backup.due(!proposerWrites)) return;
    this.ctx.waitUntil(dutyMs === 0 ? backup.run(!proposerWrites) : backup.later(dutyMs));
  }

  #learnRemoteConsistent(position: Lsn): void {
    const store = this.#parts?.store;
    if (store === undefined) return;
    // Only whole segments are ever trimmed: nobody needs to know about less.
    if (segmentStart(position) <= segmentStart(store.positions.remoteConsistentLsn)) return;
    store.savePositions({ remoteConsistentLsn: position });
    this.#trim();
    this.#tellPeers();
  }

  #noteBackup(): void {
    if (this.#parts === null) return;
    const { store, acceptor } = this.#parts;
    this.ctx.waitUntil(acceptor.backedUp(store.positions.backupLsn));
  }

  /** Drops local WAL that may go (retention.ts), and tells the proposer of the room that it makes. */
  #trim(): void {
    if (this.#parts === null) return;
    const { store, acceptor } = this.#parts;
    const before = trimmableBefore(store.positions, acceptor.log, this.#limits);
    if (store.trim(before)) this.ctx.waitUntil(acceptor.roomChanged());
  }

  /** For whom the peers were asked last: the proposer that writes. */
  #askedFor: number | null = null;
  /** While this one was away, the others may have said what it did not hear. */
  #askPeers(): void {
    for (const { number, stub } of this.#peers()) {
      const asked = Promise.resolve(stub.told()).then((positions) => {
        if (positions !== null) this.learn(positions);
      });
      this.ctx.waitUntil(asked.catch((error: unknown) => console.warn(`peer ${number}: ${String(error)}`)));
    }
  }
  #peers(): { number: number; stub: DurableObjectStub<Safekeeper> }[] {
    if (this.#parts === null) return [];
    const { store, acceptor } = this.#parts;
    return peersOf(store.number, acceptor.log.configuration).map((number) => {
      const name = safekeeperName(store.timeline, number);
      return { number, stub: this.env.SAFEKEEPER.getByName(name) };
    });
  }

  #tellPeers(): void {
    if (this.#parts === null) return;
    const { store } = this.#parts;
    const { backupLsn, partialLsn, remoteConsistentLsn } = store.positions;
    for (const { number, stub } of this.#peers()) {
      const told = Promise.resolve(stub.learn({ backupLsn, partialLsn, remoteConsistentLsn }));
      // A peer that is out of reach keeps its WAL a little longer; the next segment tells it again.
      this.ctx.waitUntil(told.catch((error: unknown) => console.warn(`peer ${number}: ${String(error)}`)));
    }
  }
}
