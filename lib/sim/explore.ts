/**
 * Every state that a small world can reach, by the same steps: so many proposers, acceptors, terms and log entries.
 *
 * An entry is a record of one byte, whose value is the process that wrote it. What can happen at any moment, any number of
 * times: a process starts in any term, connects (and is answered, or not, before the link breaks), writes an entry; the
 * next message of a link arrives, and its answers with it, or the link breaks before they do; a link breaks with all that
 * is under way on it; an acceptor restarts, without the positions that may be durable late. Answers that arrive later than
 * other things, announcements, storage that is not as durable as it claims, and changes of members are the simulator's
 * matter. States are told apart by a hash of 53 bits, and are the same where only the acceptors' numbers differ.
 */
import {
  emptyLog,
  startAcceptor,
  stepAcceptor,
  type AcceptorInput,
  type AcceptorState,
} from '../consensus/acceptor.ts';
import { firstConfiguration, isMajority } from '../consensus/configuration.ts';
import type { AcceptorMessage, ProposerMessage } from '../consensus/messages.ts';
import {
  DEFAULT_LIMITS,
  startProposer,
  type ProposerInput,
  type ProposerState,
} from '../consensus/proposer-state.ts';
import { stepProposer } from '../consensus/proposer.ts';
import { lastTermOf, upTo } from '../consensus/term-history.ts';
import type { Lsn } from '../postgres/lsn.ts';
import { Violation } from './checker.ts';
import { hashOf } from './state-hash.ts';
import { START, TIMELINE } from './world.ts';

export interface Bounds {
  proposers: number;
  acceptors: number;
  terms: number;
  entries: number;
  /** Give up beyond so many states. */
  statesMax: number;
}
export interface Explored {
  states: number;
  transitions: number;
  depth: number;
  /** False when `statesMax` ended it. */
  complete: boolean;
  committedMax: number;
}

/** One acceptor: its state, and its log as the processes that wrote it. */
interface Acceptor {
  readonly state: AcceptorState;
  readonly wal: string;
}
interface Link {
  readonly toAcceptor: readonly ProposerMessage[];
  readonly toProposer: readonly AcceptorMessage[];
}
/** What a term's leader has written and taken over. */
interface Leader {
  readonly process: number;
  readonly wal: string;
}
export interface Small {
  readonly acceptors: readonly Acceptor[];
  /** By slot; null before the first start. */
  readonly proposers: readonly (ProposerState | null)[];
  /** By slot, then acceptor. */
  readonly links: readonly (readonly (Link | null)[])[];
  readonly leaders: readonly (Leader | null)[];
  readonly committed: string;
}

type Draft = { -readonly [K in keyof Small]: Small[K] } & {
  acceptors: Acceptor[];
  proposers: (ProposerState | null)[];
  links: (Link | null)[][];
  leaders: (Leader | null)[];
};

const copy = (state: Small): Draft => ({
  ...state,
  acceptors: [...state.acceptors],
  proposers: [...state.proposers],
  links: state.links.map((row) => [...row]),
  leaders: [...state.leaders],
});
/** Messages under way on one link, to the acceptor. */
const UNDER_WAY_MAX = 2;
const NO_LINK: Link = { toAcceptor: [], toProposer: [] };
const letter = (process: number): string => String.fromCharCode(96 + process);
/** The process that slot `slot` is in `term`. */
const processOf = (slot: number, term: number): number => slot * 16 + term + 1;
const walOf = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

export class Explorer {
  readonly #bounds: Bounds;
  readonly #seen = new Set<number>();
  /** Wraps the steps, for planted bugs. */
  readonly #steps: { stepAcceptor: typeof stepAcceptor; stepProposer: typeof stepProposer };
  #transitions = 0;

  constructor(bounds: Bounds, steps = { stepAcceptor, stepProposer }) {
    this.#bounds = bounds;
    this.#steps = steps;
  }

  /** Throws a Violation where an invariant does not hold. */
  run(): Explored {
    const first = this.#first();
    this.#seen.add(hashOf(first));
    const stack: { state: Small; depth: number }[] = [{ state: first, depth: 0 }];
    let [deepest, committedMax] = [0, 0];
    let complete = true;
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      const { state, depth } = next;
      if (depth > deepest) deepest = depth;
      if (state.committed.length > committedMax) committedMax = state.committed.length;
      for (const successor of this.#successors(state)) {
        this.#transitions++;
        // Requests for WAL of acceptors that come and go would pile up without end.
        if (
          successor.links.some((row) =>
            row.some((link) => link !== null && link.toAcceptor.length > UNDER_WAY_MAX),
          )
        ) {
          continue;
        }
        const hash = hashOf(successor);
        if (this.#seen.has(hash)) continue;
        this.#check(successor);
        if (this.#seen.size >= this.#bounds.statesMax) {
          complete = false;
          continue;
        }
        this.#seen.add(hash);
        stack.push({ state: successor, depth: depth + 1 });
      }
    }
    return {
      states: this.#seen.size,
      transitions: this.#transitions,
      depth: deepest,
      complete,
      committedMax,
    };
  }

  #first(): Small {
    const { acceptors, proposers, terms } = this.#bounds;
    return {
      acceptors: Array.from({ length: acceptors }, (_, i) => ({
        state: startAcceptor(TIMELINE, i + 1, emptyLog(START)),
        wal: '',
      })),
      proposers: Array.from({ length: proposers }, () => null),
      links: Array.from({ length: proposers }, () => Array.from({ length: acceptors }, () => null)),
      leaders: Array.from({ length: terms + 1 }, () => null),
      committed: '',
    };
  }

  #successors(state: Small): Small[] {
    const { acceptors, proposers, terms, entries } = this.#bounds;
    const found: Small[] = [];
    const add = (change: (draft: Draft) => void): void => {
      const draft = copy(state);
      change(draft);
      found.push(draft);
    };
    for (let p = 0; p < proposers; p++) {
      const proposer = state.proposers[p];
      for (let term = (proposer?.config.term ?? 0) + 1; term <= terms; term++) {
        add((draft) => this.#start(draft, p, term));
      }
      if (proposer === null || proposer.phase === 'superseded') continue;
      if (proposer.phase === 'leading' && proposer.buffer.endLsn - START < entries) {
        add((draft) => this.#write(draft, p));
      }
      for (let a = 0; a < acceptors; a++) {
        const link = state.links[p][a];
        if (link === null) {
          add((draft) => this.#connect(draft, p, a, true));
          add((draft) => this.#connect(draft, p, a, false));
          continue;
        }
        add((draft) => {
          this.#cut(draft, p, a);
          if (draft.proposers[p]?.phase !== 'superseded') this.#connect(draft, p, a, true);
        });
        if (link.toAcceptor.length === 0) continue;
        add((draft) => this.#exchange(draft, p, a));
        add((draft) => {
          this.#deliverToAcceptor(draft, p, a);
          this.#cut(draft, p, a);
          if (draft.proposers[p]?.phase !== 'superseded') this.#connect(draft, p, a, true);
        });
      }
    }
    return found;
  }

  /** Greets and asks for the vote; the answer to that may be lost with the link. */
  #connect(draft: Draft, p: number, a: number, answered: boolean): void {
    draft.links[p][a] = NO_LINK;
    this.#stepProposer(draft, p, { type: 'connected', acceptor: a + 1 });
    this.#exchange(draft, p, a);
    if (draft.links[p][a] === null) return;
    if (answered) return this.#exchange(draft, p, a);
    this.#deliverToAcceptor(draft, p, a);
    this.#cut(draft, p, a);
  }

  #start(draft: Draft, p: number, term: number): void {
    for (let a = 0; a < draft.acceptors.length; a++) {
      if (draft.links[p][a] !== null) this.#endLink(draft, p, a);
    }
    const members = draft.acceptors.map((_, i) => i + 1);
    draft.proposers[p] = startProposer({
      timeline: TIMELINE,
      term,
      proposerId: processOf(p, term).toString(16).padStart(32, '0'),
      configuration: firstConfiguration(members),
      limits: { ...DEFAULT_LIMITS, appendsInFlightMax: 1, coalescedBytesMax: 0 },
    });
  }
  #write(draft: Draft, p: number): void {
    const { config, buffer } = draft.proposers[p]!;
    const process = processOf(p, config.term);
    const leader = draft.leaders[config.term]!;
    draft.leaders[config.term] = { process, wal: leader.wal + letter(process) };
    const bytes = new Uint8Array([letter(process).charCodeAt(0)]);
    this.#stepProposer(draft, p, { type: 'wal', bytes, recordEndLsn: (buffer.endLsn + 1) as Lsn });
  }
  /** Both ends learn of it. */
  #endLink(draft: Draft, p: number, a: number): void {
    draft.links[p][a] = null;
    this.#stepAcceptor(draft, a, { type: 'disconnected', connection: p });
  }
  #cut(draft: Draft, p: number, a: number): void {
    if (draft.links[p][a] === null) return;
    this.#endLink(draft, p, a);
    this.#stepProposer(draft, p, { type: 'disconnected', acceptor: a + 1 });
  }
  #deliverToAcceptor(draft: Draft, p: number, a: number): void {
    const link = draft.links[p][a]!;
    draft.links[p][a] = { ...link, toAcceptor: link.toAcceptor.slice(1) };
    this.#stepAcceptor(draft, a, { type: 'message', connection: p, message: link.toAcceptor[0] });
  }
  #exchange(draft: Draft, p: number, a: number): void {
    this.#deliverToAcceptor(draft, p, a);
    while ((draft.links[p][a]?.toProposer.length ?? 0) > 0) this.#deliverToProposer(draft, p, a);
  }
  #deliverToProposer(draft: Draft, p: number, a: number): void {
    const link = draft.links[p][a]!;
    draft.links[p][a] = { ...link, toProposer: link.toProposer.slice(1) };
    this.#stepProposer(draft, p, { type: 'message', acceptor: a + 1, message: link.toProposer[0] });
  }

  #stepAcceptor(draft: Draft, a: number, input: AcceptorInput): void {
    const before = draft.acceptors[a];
    const output = this.#steps.stepAcceptor(before.state, input);
    let { wal } = before;
    for (const write of output.writes) {
      if (write.type === 'truncate') wal = wal.slice(0, write.lsn - START);
      else if (write.type === 'wal') for (const part of write.wal) wal += walOf(part);
    }
    draft.acceptors[a] = { state: output.state, wal };
    const answer = (p: number, message: AcceptorMessage): void => {
      const link = draft.links[p][a];
      if (link !== null) draft.links[p][a] = { ...link, toProposer: [...link.toProposer, message] };
    };
    for (const { connection, message } of output.messages) answer(connection, message);
    for (const { connection, term, beginLsn, endLsn } of output.reads) {
      const bytes = wal.slice(beginLsn - START, endLsn - START);
      const sent = Uint8Array.from(bytes, (character) => character.charCodeAt(0));
      answer(connection, { type: 'wal', term, beginLsn, recordEndLsn: endLsn, wal: sent });
    }
    for (const { connection } of output.refusals) {
      if (draft.links[connection][a] === null) continue;
      this.#endLink(draft, connection, a);
      this.#stepProposer(draft, connection, { type: 'disconnected', acceptor: a + 1 });
    }
  }

  #stepProposer(draft: Draft, p: number, input: ProposerInput): void {
    const before = draft.proposers[p];
    if (before === null) return;
    const { state, messages, disconnects } = this.#steps.stepProposer(before, input);
    draft.proposers[p] = state;
    const { term } = state.config;
    if (before.phase === 'campaign' && (state.phase === 'recovering' || state.phase === 'leading')) {
      this.#elect(draft, p, state);
    }
    if (state.phase === 'leading' && state.commitLsn > START) {
      this.#commit(
        draft,
        draft.leaders[term]!.wal.slice(0, state.commitLsn - START),
        `p${p + 1} of term ${term}`,
      );
    }
    for (const { acceptor, message } of messages) {
      const link = draft.links[p][acceptor - 1];
      if (link === null) continue;
      draft.links[p][acceptor - 1] = { ...link, toAcceptor: [...link.toAcceptor, message] };
    }
    const over = state.phase === 'superseded' ? draft.acceptors.map((_, a) => a) : [];
    for (const { acceptor } of disconnects) over.push(acceptor - 1);
    for (const a of over) {
      if (draft.links[p][a] === null) continue;
      this.#endLink(draft, p, a);
      this.#stepProposer(draft, p, { type: 'disconnected', acceptor: a + 1 });
    }
  }

  #elect(draft: Draft, p: number, { config, history, termStartLsn }: ProposerState): void {
    const { term } = config;
    const process = processOf(p, term);
    const known = draft.leaders[term];
    if (known !== null) {
      throw new Violation(1, `term ${term} has leaders ${known.process} and ${process}`);
    }
    const donor = history.length > 1 ? (draft.leaders[history[history.length - 2].term]?.wal ?? '') : '';
    const wal = donor.slice(0, termStartLsn - START);
    if (wal.length !== termStartLsn - START) throw new Violation(2, `p${p + 1} takes over a log of nobody`);
    draft.leaders[term] = { process, wal };
    const later = draft.leaders.some((leader, other) => other > term && leader !== null);
    if (!later && !wal.startsWith(draft.committed)) {
      throw new Violation(3, `the leader of term ${term} has ${wal}, committed is ${draft.committed}`);
    }
  }
  #commit(draft: Draft, commits: string, who: string): void {
    const { committed } = draft;
    const [shorter, longer] = committed.length < commits.length ? [committed, commits] : [commits, committed];
    if (!longer.startsWith(shorter)) throw new Violation(4, `${who} commits ${commits}, ${committed} is`);
    draft.committed = longer;
  }

  #check({ acceptors, leaders, committed }: Small): void {
    const members = acceptors.map((_, a) => a + 1);
    for (const { state, wal } of acceptors) {
      const { log } = state;
      const name = `a${state.number}`;
      if (log.commitLsn > log.flushLsn || log.flushLsn - START !== wal.length) throw new Violation(6, name);
      const known = wal.slice(0, log.commitLsn - START);
      if (!committed.startsWith(known)) throw new Violation(4, `${name} commits ${known}, ${committed} is`);
      const leader = leaders[lastTermOf(upTo(log.history, log.flushLsn))];
      if (leader !== null && !leader.wal.startsWith(wal)) {
        throw new Violation(2, `${name} has ${wal}, its leader ${leader.wal}`);
      }
    }
    if (!isMajority(members, (member) => acceptors[member - 1].wal.startsWith(committed))) {
      throw new Violation(4, `no majority has ${committed}`);
    }
  }
}

export const explore = (bounds: Bounds): Explored => new Explorer(bounds).run();
