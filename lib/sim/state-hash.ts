/** A hash of everything in a value: numbers, strings, arrays, maps and plain objects, in 53 bits. */
import type { Small } from './explore.ts';

let low = 0;
let high = 0;

function mix(value: number): void {
  low = Math.imul(low ^ value, 0x9e3779b1);
  low ^= low >>> 15;
  high = Math.imul(high ^ (value + 0x7f4a7c15), 0x85ebca77);
  high ^= high >>> 13;
  high = (high + low) | 0;
}
function mixString(text: string): void {
  mix(text.length);
  for (let i = 0; i < text.length; i++) mix(text.charCodeAt(i));
}

function mixValue(value: unknown): void {
  switch (typeof value) {
    case 'number':
      mix(value | 0);
      return;
    case 'string':
      mixString(value);
      return;
    case 'boolean':
      mix(value ? 2 : 3);
      return;
    case 'object':
      if (value === null) mix(5);
      else mixObject(value);
      return;
    default:
      mix(7);
  }
}
/** What never differs between the states of one world, and who backs up, which no log depends on. */
const LEFT_OUT = new Set([
  'configuration',
  'backupBy',
  'backupLsn',
  'toldBackupBy',
  'toldBackupLsn',
  'truncateLsn',
  'toldCommitLsn',
]);

function mixObject(value: object): void {
  if (Array.isArray(value) || value instanceof Uint8Array) {
    mix(value.length + 11);
    for (let i = 0; i < value.length; i++) mixValue(value[i]);
  } else if (value instanceof Map) {
    mix(value.size + 13);
    for (const key of [...(value.keys() as Iterable<number>)].sort((a, b) => a - b)) {
      mix(key);
      mixValue(value.get(key));
    }
  } else {
    for (const key in value) {
      if (LEFT_OUT.has(key)) continue;
      mix(key.length * 31 + key.charCodeAt(0));
      mixValue((value as Record<string, unknown>)[key]);
    }
  }
}

/** What acceptor `a` is and what the proposers know of it and have under way to it. */
function hashColumn(state: Small, a: number): number {
  reset();
  const { state: acceptor, wal } = state.acceptors[a];
  mixValue(acceptor.log);
  mixValue(acceptor.connections);
  mix(acceptor.writing ?? -1);
  mixString(wal);
  for (let p = 0; p < state.proposers.length; p++) {
    const proposer = state.proposers[p];
    if (proposer === null || proposer.phase === 'superseded') continue;
    mixValue(state.links[p][a]);
    const { at, flushLsn } = proposer.acceptors[a];
    mixValue(at);
    mix(flushLsn ?? -1);
    if (proposer.phase === 'campaign') mixValue(proposer.votes.get(a + 1));
  }
  return result();
}

/** The same for states that differ in nothing but the acceptors' numbers. */
export function hashOf(state: Small): number {
  const columns = state.acceptors.map((_, a) => hashColumn(state, a));
  const reads = state.proposers.some(
    (proposer) => proposer?.acceptors.some(({ at }) => at.phase === 'streaming' && at.read !== null) ?? false,
  );
  // A read names another acceptor: then their order is kept.
  if (!reads) columns.sort((a, b) => a - b);
  reset();
  mix(reads ? 1 : 2);
  for (const column of columns) {
    mix(column | 0);
    mix(Math.floor(column / 2 ** 32));
  }
  for (const proposer of state.proposers) {
    if (proposer === null) mix(-1);
    else if (proposer.phase === 'superseded') mix(proposer.config.term - 100);
    else {
      mix(proposer.config.term);
      mixString(proposer.phase);
      if (proposer.phase === 'campaign') continue;
      mixValue(proposer.history);
      mix(proposer.termStartLsn);
      mix(proposer.commitLsn);
      mixValue(proposer.buffer);
    }
  }
  mixValue(state.leaders);
  mixString(state.committed);
  return result();
}

function reset(): void {
  low = 0x2545f491;
  high = 0x41c64e6d;
}
const result = (): number => (high >>> 11) * 2 ** 32 + (low >>> 0);
