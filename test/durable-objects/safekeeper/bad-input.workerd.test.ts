/**
 * What a safekeeper does with messages that no proposer of Ebb sends: the documented close code, its state unharmed.
 */
import { firstConfiguration } from '../../../lib/consensus/configuration.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  APPEND_HEADER_BYTES,
  CONSENSUS_MESSAGE_BYTES_MAX,
  decodeAcceptorMessage,
  encodeProposerMessage,
} from '../../../lib/consensus/codec.ts';
import {
  APPEND_BYTES_MAX,
  CONSENSUS_VERSION,
  REFUSALS,
  type AcceptorMessage,
  type Append,
  type Elected,
  type ProposerGreeting,
  type ProposerMessage,
  type RefusalReason,
} from '../../../lib/consensus/messages.ts';
import { lsn, lsnPlus, parseLsn } from '../../../lib/postgres/lsn.ts';
import { Driver, walBytes } from './driver.ts';
import { SafekeeperEdge } from './edge.ts';

const START = lsn(0x3000000);
const TERM = 5;
const END = lsnPlus(START, 1000);
/** The least that may be configured. */
const ROOM_BYTES = 33 << 20;

let edge: SafekeeperEdge;
beforeAll(async () => {
  edge = await SafekeeperEdge.start({ SAFEKEEPER_WAL_BYTES_MAX: String(ROOM_BYTES) });
  const driver = await new Driver(edge, TERM).elected();
  await driver.committed(driver.push(walBytes(START, 1000)));
  await driver.everywhere();
  await driver.leave();
});
afterAll(() => edge.stop());

/** A hand-made proposer on safekeeper 1. */
class Hand {
  readonly socket: WebSocket;
  readonly closed = Promise.withResolvers<{ code: number; reason: string }>();
  readonly #answers: AcceptorMessage[] = [];
  readonly #waiting: ((message: AcceptorMessage) => void)[] = [];
  readonly #open = Promise.withResolvers<void>();

  constructor() {
    this.socket = edge.connect(1);
    this.socket.addEventListener('open', () => this.#open.resolve());
    this.socket.addEventListener('close', ({ code, reason }) => this.closed.resolve({ code, reason }));
    this.socket.addEventListener('message', ({ data }) => {
      const message = decodeAcceptorMessage(new Uint8Array(data as ArrayBuffer));
      if (message.type === 'room') return; // told unasked
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#answers.push(message);
      else waiting(message);
    });
  }
  async send(message: ProposerMessage | Uint8Array | string): Promise<void> {
    await this.#open.promise;
    const raw = typeof message === 'string' || message instanceof Uint8Array;
    this.socket.send(raw ? message : encodeProposerMessage(message).slice());
  }
  async ask(message: ProposerMessage): Promise<AcceptorMessage> {
    await this.send(message);
    return this.#answers.shift() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }
  /** Greeted and elected in the current term again, as its proposer would be after a lost connection. */
  async writing(): Promise<this> {
    await this.ask(greeting);
    expect(await this.ask(elected)).toMatchObject({ type: 'position', term: TERM, flushLsn: END });
    return this;
  }
}

const greeting: ProposerGreeting = {
  type: 'greeting',
  version: CONSENSUS_VERSION,
  timelineId: 'c0ffee00c0ffee00c0ffee00c0ffee00',
  systemIdentifier: 7400000000000000001n,
  startLsn: START,
  postgresMajor: 18,
  term: TERM,
  proposerId: '1'.padStart(32, '0'), // the driver's, who was elected
  configuration: firstConfiguration([1, 2, 3]),
};
const elected: Elected = {
  type: 'elected',
  term: TERM,
  truncateAtLsn: END,
  beginLsn: END,
  history: [
    { term: 0, lsn: START },
    { term: TERM, lsn: START },
  ],
};
const append: Append = {
  type: 'append',
  term: TERM,
  beginLsn: END,
  recordEndLsn: lsnPlus(END, 8),
  commitLsn: END,
  truncateLsn: START,
  backupBy: 0,
  backupLsn: START,
  wal: [new Uint8Array(8)],
};

/** Everything that a message could have harmed. */
async function state(): Promise<unknown> {
  const { readers: _, ...status } = (await edge.status(1)) as { readers: unknown; proposers?: number };
  const wal = await edge.wal(1, 'from=0/3000000&uncommitted=1');
  return {
    ...status,
    proposers: undefined,
    databaseBytes: undefined, // pages that are free again
    proposerWrites: undefined,
    wal: Buffer.from(wal).toString('base64'),
  };
}
async function refused(hand: Hand, reason: RefusalReason, before: unknown): Promise<void> {
  const closed = await hand.closed.promise;
  expect(closed).toMatchObject({ code: REFUSALS[reason].code });
  expect(closed.reason).toMatch(new RegExp(`^${reason}: .`));
  expect(await state()).toEqual(before);
}

const appendBytes = (change: Partial<Append>): Uint8Array => encodeProposerMessage({ ...append, ...change });

test.for<[string, Uint8Array | string, RefusalReason]>([
  ['nothing', new Uint8Array(0), 'malformed'],
  ['garbage', walBytes(START, 200), 'malformed'],
  ['text', 'SELECT 1', 'malformed'],
  ['a greeting cut short', encodeProposerMessage(greeting).slice(0, 40), 'malformed'],
  ['a greeting with bytes behind', new Uint8Array([...encodeProposerMessage(greeting), 0]), 'malformed'],
  ['more than any message', new Uint8Array(CONSENSUS_MESSAGE_BYTES_MAX + 1), 'oversize'],
  ['a vote before greeting', encodeProposerMessage({ type: 'voteRequest', term: 9 }), 'unexpected'],
  ['an append before greeting', appendBytes({}), 'unexpected'],
  ['another version', encodeProposerMessage({ ...greeting, version: 1 }), 'otherVersion'],
  ['another timeline', encodeProposerMessage({ ...greeting, timelineId: 'a'.repeat(32) }), 'otherTimeline'],
  ['another cluster', encodeProposerMessage({ ...greeting, systemIdentifier: 1n }), 'otherTimeline'],
  ['another start', encodeProposerMessage({ ...greeting, startLsn: END }), 'otherTimeline'],
  ['another Postgres', encodeProposerMessage({ ...greeting, postgresMajor: 17 }), 'otherTimeline'],
])('as the first message: %s', async ([, message, reason]) => {
  const before = await state();
  const hand = new Hand();
  await hand.send(message);
  await refused(hand, reason, before);
});

test.for<[string, ProposerMessage, RefusalReason]>([
  ['a second greeting', greeting, 'unexpected'],
  ['an append without election', append, 'unexpected'],
  ['an append of a term that nobody was elected in', { ...append, term: TERM + 1 }, 'unexpected'],
  ['a leave without election', { type: 'leave', term: TERM, commitLsn: END }, 'unexpected'],
  ['a read without election', { type: 'read', term: TERM, beginLsn: START, bytesMax: 100 }, 'unexpected'],
  ['a cut below the commit position', { ...elected, truncateAtLsn: START }, 'wrongTruncation'],
  ['a cut beyond the log', { ...elected, truncateAtLsn: lsnPlus(END, 8) }, 'wrongTruncation'],
  [
    'a history that contradicts',
    {
      ...elected,
      term: 6,
      history: [
        { term: 0, lsn: START },
        { term: TERM, lsn: END },
        { term: 6, lsn: END },
      ],
    },
    'wrongTruncation',
  ],
  ['a history of another term', { ...elected, history: [{ term: 0, lsn: START }] }, 'unexpected'],
])('after greeting: %s', async ([, message, reason]) => {
  const before = await state();
  const hand = new Hand();
  await hand.ask(greeting);
  await hand.send(message);
  await refused(hand, reason, before);
});

test.for<[string, Partial<Append>, RefusalReason]>([
  ['a gap', { beginLsn: lsnPlus(END, 8), recordEndLsn: lsnPlus(END, 16) }, 'notSequential'],
  ['an overlap with the same bytes', { beginLsn: START, wal: [walBytes(START, 1000)] }, 'notSequential'],
  [
    'an overlap with other bytes',
    { beginLsn: lsnPlus(END, -8), wal: [walBytes(START, 16, 1)] },
    'notSequential',
  ],
  ['a record end beyond the bytes', { recordEndLsn: lsnPlus(END, 9) }, 'outOfRange'],
  ['a record end before the last one', { recordEndLsn: lsnPlus(END, -1) }, 'outOfRange'],
  ['a record end without bytes', { wal: [], recordEndLsn: lsnPlus(END, 8) }, 'outOfRange'],
])('after election: an append with %s', async ([, change, reason]) => {
  const before = await state();
  const hand = await new Hand().writing();
  await hand.send({ ...append, ...change });
  await refused(hand, reason, before);
});

test('more WAL than an append may carry', async () => {
  const before = await state();
  const hand = await new Hand().writing();
  const wal = [new Uint8Array(APPEND_BYTES_MAX + 1)];
  const message = encodeProposerMessage({ ...append, wal });
  expect(message.length).toBeLessThanOrEqual(CONSENSUS_MESSAGE_BYTES_MAX + APPEND_HEADER_BYTES);
  await hand.send(message);
  await refused(hand, message.length > CONSENSUS_MESSAGE_BYTES_MAX ? 'oversize' : 'malformed', before);
});

test('more WAL than there is room for', async () => {
  const before = await state();
  const full = new SafekeeperFiller(await new Hand().writing());
  await full.fill();
  await full.hand.send({ ...append, ...full.next(1), wal: [new Uint8Array(1)] });
  expect(await full.hand.closed.promise).toMatchObject({ code: REFUSALS.full.code });
  expect(await edge.status(1)).toMatchObject({ full: true, walBytes: ROOM_BYTES });
  // What was not the end of a record goes with the next election, and all is as it was.
  const hand = await new Hand().writing();
  hand.socket.close();
  await hand.closed.promise;
  expect(await state()).toEqual(before);
});

/** Appends bytes of a record that never ends until the store is full. */
class SafekeeperFiller {
  readonly hand: Hand;
  #at = END;
  constructor(hand: Hand) {
    this.hand = hand;
  }
  next(length: number): Pick<Append, 'beginLsn' | 'recordEndLsn'> {
    const beginLsn = this.#at;
    this.#at = lsnPlus(beginLsn, length);
    return { beginLsn, recordEndLsn: END };
  }
  async fill(): Promise<void> {
    const limit = START + ROOM_BYTES;
    while (this.#at < limit) {
      const length = Math.min(APPEND_BYTES_MAX, limit - this.#at);
      await this.hand.ask({ ...append, ...this.next(length), wal: [new Uint8Array(length)] });
    }
  }
}

test('a read of what is not there', async () => {
  const before = await state();
  for (const beginLsn of [lsnPlus(START, -8), lsnPlus(END, 8)]) {
    const hand = await new Hand().writing();
    await hand.send({ type: 'read', term: TERM, beginLsn, bytesMax: 100 });
    await refused(hand, 'outOfRange', before);
  }
  const hand = await new Hand().writing();
  const answer = await hand.ask({ type: 'read', term: TERM, beginLsn: START, bytesMax: 2 ** 32 - 1 });
  expect(answer).toMatchObject({
    type: 'wal',
    beginLsn: START,
    recordEndLsn: END,
    wal: walBytes(START, 1000),
  });
  hand.socket.close();
});

test('lower terms are answered with the higher one, and change nothing', async () => {
  const before = await state();
  const hand = new Hand();
  const other = 'f'.repeat(32);
  expect(await hand.ask({ ...greeting, term: 1, proposerId: other })).toMatchObject({
    type: 'greeting',
    term: TERM,
  });
  const refusal = await hand.ask({ type: 'voteRequest', term: 1 });
  expect(refusal).toMatchObject({ type: 'vote', term: TERM, given: false });
  expect(await hand.ask({ type: 'voteRequest', term: TERM })).toMatchObject({ given: false });
  const history = [
    { term: 0, lsn: START },
    { term: 1, lsn: START },
  ];
  const old = { type: 'position', term: TERM, flushLsn: END };
  expect(await hand.ask({ ...elected, term: 1, truncateAtLsn: START, history })).toMatchObject(old);
  expect(await hand.ask({ ...append, term: 1, beginLsn: START, recordEndLsn: END })).toMatchObject(old);
  expect(await hand.ask({ type: 'leave', term: 1, commitLsn: START })).toMatchObject(old);
  hand.socket.close();
  await hand.closed.promise;
  expect(await state()).toEqual(before);
});

test('a newer connection of the proposer displaces the older one', async () => {
  const before = await state();
  const older = await new Hand().writing();
  const newer = await new Hand().writing();
  await refused(older, 'displaced', before);
  newer.socket.close();
  await newer.closed.promise;
});

test('a commit position beyond the log is taken only as far as the log reaches', async () => {
  const hand = await new Hand().writing();
  const answer = await hand.ask({
    ...append,
    commitLsn: lsnPlus(END, 1 << 20),
    truncateLsn: lsnPlus(END, 1 << 20),
  });
  const end = lsnPlus(END, 8);
  expect(answer).toMatchObject({ type: 'position', flushLsn: end, commitLsn: end });
  expect(parseLsn((await edge.status(1)).truncateLsn)).toBe(end);
  hand.socket.close();
  await hand.closed.promise;
});
