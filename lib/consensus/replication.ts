/**
 * What an elected proposer does: brings every acceptor's log to its own, appends, and counts what is durable.
 *
 * An acceptor is fed from the proposer's buffer, or, before that begins, with WAL read from another acceptor
 * whose log has been cut to this term's. `commitLsn` is the highest position that a quorum has durably in this
 * term's history, and only from the term's start on: what an older term wrote is committed by the adoption of
 * this term's history, never by counting copies (Raft, section 5.4.2). Every position that acceptors tell is
 * the end of a record, so `commitLsn` is one too.
 *
 * Little WAL at a time is sent with little effort: what comes while an append is unanswered goes in one with the
 * next (group commit), and the third acceptor, without which a quorum is complete, gets what has gathered at each
 * `announce` (trailing.ts).
 */
import { formatLsn, lsnPlus, type Lsn } from '../postgres/lsn.ts';
import { assert } from '../assert.ts';
import {
  APPEND_BYTES_MAX,
  type AcceptorNumber,
  type Append,
  type Position,
  type ReadResponse,
  type Room,
} from './messages.ts';
import { chooseBackup } from './backup.ts';
import { quorumPosition } from './configuration.ts';
import { owesTo, progressOf, setLimit, setPhase, type Draft, type Streaming } from './proposer-state.ts';
import { chooseTrailing } from './trailing.ts';
import { dropBefore, pushWal, sliceWal } from './wal-buffer.ts';

/** New WAL from Postgres, which continues the buffer. */
export function onWal(draft: Draft, input: { bytes: Uint8Array; recordEndLsn: Lsn }): void {
  const { state } = draft;
  assert(state.phase === 'leading', `WAL from Postgres while ${state.phase}`);
  if (input.bytes.length === 0) return;
  state.buffer = pushWal(state.buffer, input.bytes, input.recordEndLsn);
  pumpAll(draft);
}

export function onPosition(draft: Draft, acceptor: AcceptorNumber, position: Position): void {
  const { state } = draft;
  const { at } = progressOf(draft, acceptor);
  if (position.term < state.config.term) return protocolFault(draft, acceptor, `term ${position.term}`);
  if (at.phase === 'electing') {
    if (position.flushLsn !== at.flushLsn) {
      return protocolFault(draft, acceptor, `flush ${position.flushLsn} after a cut to ${at.flushLsn}`);
    }
    setPhase(draft, acceptor, streamingFrom(at), position.flushLsn);
  } else if (at.phase === 'streaming') {
    if (position.flushLsn > at.sentRecordEndLsn || position.writtenLsn > at.nextLsn) {
      return protocolFault(draft, acceptor, `flush ${position.flushLsn} beyond ${at.sentRecordEndLsn}`);
    }
    const { writtenLsn } = position;
    const inFlight = at.inFlight.filter((endLsn) => endLsn > writtenLsn);
    setPhase(draft, acceptor, { ...at, inFlight, writtenLsn }, position.flushLsn);
  } else {
    return protocolFault(draft, acceptor, `position while ${at.phase}`);
  }
  if (position.backupLsn > state.backupLsn) state.backupLsn = position.backupLsn;
  advanceCommit(draft);
  trimBuffer(draft);
  pumpAll(draft);
}

const streamingFrom = ({ flushLsn, beginLsn }: { flushLsn: Lsn; beginLsn: Lsn }): Streaming => ({
  phase: 'streaming',
  nextLsn: beginLsn,
  writtenLsn: beginLsn,
  sentRecordEndLsn: flushLsn,
  inFlight: [],
  toldCommitLsn: 0 as Lsn,
  toldBackupBy: 0,
  toldBackupLsn: 0 as Lsn,
  read: null,
});

function protocolFault(draft: Draft, acceptor: AcceptorNumber, detail: string): void {
  draft.disconnects.push({ acceptor, reason: 'fault', detail });
}

function advanceCommit(draft: Draft): void {
  const { state } = draft;
  const durableLsn = quorumPosition(state.configuration, (member) => progressOf(draft, member).flushLsn);
  if (durableLsn === null || durableLsn < state.termStartLsn) return;
  if (state.phase === 'recovering') state.phase = 'leading';
  if (durableLsn > state.commitLsn) state.commitLsn = durableLsn;
  let everywhere = durableLsn;
  for (const { flushLsn } of state.acceptors) {
    if (flushLsn === null) return;
    if (flushLsn < everywhere) everywhere = flushLsn;
  }
  if (everywhere > state.truncateLsn) state.truncateLsn = everywhere;
}

/** Drops what is committed and sent to everyone who streams, or committed and too much to keep. */
function trimBuffer(draft: Draft): void {
  const { state } = draft;
  const { bufferBytesMax } = state.config.limits;
  let keepFrom = state.commitLsn;
  const overLimit = state.buffer.endLsn - bufferBytesMax;
  for (const { at } of state.acceptors) {
    if (at.phase !== 'streaming') continue;
    const wanted = Math.max(at.nextLsn, overLimit);
    if (wanted < keepFrom) keepFrom = wanted as Lsn;
  }
  state.buffer = dropBefore(state.buffer, keepFrom);
}

/** Sends each acceptor what it lacks, as far as its window allows. */
export function pumpAll(draft: Draft): void {
  const { state } = draft;
  if (state.phase !== 'recovering' && state.phase !== 'leading') return;
  nameBackup(draft);
  state.trailing = chooseTrailing(state);
  for (const { number } of state.acceptors)
    pump(draft, number, number === state.trailing ? 'gather' : 'send');
}

function nameBackup({ state }: Draft): void {
  const backupBy = chooseBackup(state);
  if (backupBy === state.backupBy) return;
  state.backupBy = backupBy;
  state.backupSinceLsn = state.commitLsn;
}

/** `gather`: little WAL waits for `announce`. */
function pump(draft: Draft, acceptor: AcceptorNumber, mode: 'send' | 'gather'): void {
  const { state } = draft;
  const { appendsInFlightMax, bytesInFlightMax, coalescedBytesMax } = state.config.limits;
  for (;;) {
    const { at, limitLsn } = progressOf(draft, acceptor);
    if (at.phase !== 'streaming') return;
    const lacks = Math.min(state.buffer.endLsn, limitLsn) - at.nextLsn;
    if (lacks <= 0) return;
    if (lacks < coalescedBytesMax && (at.inFlight.length > 0 || mode === 'gather')) return;
    if (at.inFlight.length >= appendsInFlightMax) return;
    if (at.inFlight.length > 0 && at.nextLsn - at.writtenLsn >= bytesInFlightMax) return;
    if (at.nextLsn < state.buffer.beginLsn) {
      // Where there is nobody, again when somebody is connected.
      if (at.read === null) readFromPeer(draft, acceptor, at, limitLsn);
      return;
    }
    const slice = sliceWal(state.buffer, {
      fromLsn: at.nextLsn,
      knownRecordEndLsn: at.sentRecordEndLsn,
      bytesMax: Math.min(APPEND_BYTES_MAX, lacks),
    });
    sendAppend(draft, acceptor, at, slice.parts, slice);
  }
}

/** WAL to the trailing acceptor; appends without WAL to those who have it all and do not know that it is committed. */
export function announce(draft: Draft): void {
  const { state } = draft;
  if (state.phase !== 'recovering' && state.phase !== 'leading') return;
  if (state.trailing !== 0) pump(draft, state.trailing, 'send');
  for (const { number, at, limitLsn } of state.acceptors) {
    if (!owesTo(state, at, limitLsn)) continue;
    sendAppend(draft, number, at, [], { endLsn: at.nextLsn, recordEndLsn: at.sentRecordEndLsn });
  }
}

function sendAppend(
  draft: Draft,
  acceptor: AcceptorNumber,
  at: Streaming,
  wal: readonly Uint8Array[],
  { endLsn, recordEndLsn }: { endLsn: Lsn; recordEndLsn: Lsn },
): void {
  const { config, commitLsn, truncateLsn, backupBy, backupLsn } = draft.state;
  const message: Append = {
    type: 'append',
    term: config.term,
    beginLsn: at.nextLsn,
    recordEndLsn,
    commitLsn,
    truncateLsn,
    backupBy,
    backupLsn,
    wal,
  };
  draft.messages.push({ acceptor, message });
  setPhase(draft, acceptor, {
    ...at,
    nextLsn: endLsn,
    sentRecordEndLsn: recordEndLsn,
    inFlight: wal.length === 0 ? at.inFlight : [...at.inFlight, endLsn],
    toldCommitLsn: commitLsn,
    toldBackupBy: backupBy,
    toldBackupLsn: backupLsn,
  });
}

/**
 * Asks the most advanced other acceptor that streams in this term, of those that are not `without` it; one request at a time
 * per lagging acceptor. False when there is nobody to ask.
 */
function readFromPeer(
  draft: Draft,
  acceptor: AcceptorNumber,
  at: Streaming,
  limitLsn: Lsn,
  without: readonly AcceptorNumber[] = [],
): boolean {
  const { state } = draft;
  let from: AcceptorNumber | null = null;
  let best: Lsn = at.nextLsn;
  for (const peer of state.acceptors) {
    if (peer.number === acceptor || peer.at.phase !== 'streaming' || peer.flushLsn === null) continue;
    if (peer.flushLsn > best && !without.includes(peer.number)) [from, best] = [peer.number, peer.flushLsn];
  }
  if (from === null) return false;
  const beginLsn = at.nextLsn;
  const message = {
    type: 'read',
    term: state.config.term,
    beginLsn,
    bytesMax: Math.min(APPEND_BYTES_MAX, limitLsn - beginLsn),
  } as const;
  draft.messages.push({ acceptor: from, message });
  setPhase(draft, acceptor, { ...at, read: { from, beginLsn, without } });
  return true;
}

/**
 * `from` has none of it: it was trimmed there, and object storage has it not, or is out of reach. Another one is asked. Where
 * nobody has it, the lagging acceptor is connected anew, which takes its time, and begins where what there is then allows;
 * the others go on undisturbed.
 */
function onNothingRead(draft: Draft, from: AcceptorNumber, beginLsn: Lsn): void {
  for (const { number, at, limitLsn } of draft.state.acceptors) {
    if (at.phase !== 'streaming' || at.read?.from !== from || at.read.beginLsn !== beginLsn) continue;
    const without = [...at.read.without, from];
    if (readFromPeer(draft, number, { ...at, read: null }, limitLsn, without)) continue;
    const detail = `no acceptor can give WAL at ${formatLsn(beginLsn)} for acceptor ${number}`;
    draft.disconnects.push({ acceptor: number, reason: 'nothingToRead', detail });
  }
}

export function onReadResponse(draft: Draft, from: AcceptorNumber, response: ReadResponse): void {
  const { state } = draft;
  const { beginLsn, wal } = response;
  if (response.term < state.config.term) return protocolFault(draft, from, `WAL of term ${response.term}`);
  const recordEndLsn = response.recordEndLsn;
  const endLsn = lsnPlus(beginLsn, wal.length);
  if (wal.length === 0) return onNothingRead(draft, from, beginLsn);
  if (recordEndLsn > endLsn || endLsn > state.buffer.endLsn) {
    return protocolFault(draft, from, `WAL at ${beginLsn}: ${wal.length} bytes, record end ${recordEndLsn}`);
  }
  for (const { number, at } of state.acceptors) {
    if (at.phase !== 'streaming' || at.read?.from !== from || at.read.beginLsn !== beginLsn) continue;
    // WAL from object storage does not tell record ends; this term's start is one.
    const told =
      endLsn >= state.termStartLsn && recordEndLsn < state.termStartLsn ? state.termStartLsn : recordEndLsn;
    const known = told > at.sentRecordEndLsn ? told : at.sentRecordEndLsn;
    sendAppend(draft, number, { ...at, read: null }, [wal], { endLsn, recordEndLsn: known });
  }
  pumpAll(draft);
}

/** The acceptor's storage has more room, or less: it is sent what fits. */
export function onRoom(draft: Draft, acceptor: AcceptorNumber, { term, limitLsn }: Room): void {
  const { state } = draft;
  if (term < state.config.term) return protocolFault(draft, acceptor, `room of term ${term}`);
  setLimit(draft, acceptor, limitLsn);
  pumpAll(draft);
}

/** An acceptor that is gone will not answer: whoever waited for its WAL asks another one. */
export function forgetReadsFrom(draft: Draft, from: AcceptorNumber): void {
  for (const { number, at } of draft.state.acceptors) {
    if (at.phase === 'streaming' && at.read?.from === from) setPhase(draft, number, { ...at, read: null });
  }
  pumpAll(draft);
}
