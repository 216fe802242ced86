/**
 * A small world for the exploration (explore.ts): two or three acceptors, slots in which proposer processes run, terms that may
 * be started in any of them, entries of one byte each, whose value is the process that wrote it. The steps are the real ones.
 *
 * A state is at rest: a link between a proposer and an acceptor is up with nothing under way on it, or it is down. What
 * happens is one action and the exchange that follows from it, message by message:
 *
 *   start, connect, write, announce, restart ──► messages ──► each: arrives, and its answers with it
 *                                                                   arrives, and the link breaks before the answer does
 *                                                                   does not arrive, for the link breaks
 *
 * What is left out against a network: a message that arrives later than what another proposer or the acceptor's restart
 * did in between. A step reads nothing but its own process's state, so such a message is as good as one that arrived before
 * that, or as one that was lost where the link is older than what came in between: the acceptor answers it with a higher term, by which
 * the proposer only learns to be superseded. Old links that stay up are there, and so is all that goes over them afterwards.
 */
import { assert } from '../assert.ts';
import { emptyLog, startAcceptor, stepAcceptor } from '../consensus/acceptor.ts';
import type { AcceptorInput, AcceptorState } from '../consensus/acceptor-state.ts';
import { firstConfiguration, isMajority } from '../consensus/configuration.ts';
import type { AcceptorMessage, ProposerMessage } from '../consensus/messages.ts';
import {
  DEFAULT_LIMITS,
  owesAnnouncement,
  startProposer,
  type ProposerInput,
  type ProposerState,
} from '../consensus/proposer-state.ts';
import { stepProposer } from '../consensus/proposer.ts';
import { lastTermOf, upTo } from '../consensus/term-history.ts';
import type { Lsn } from '../postgres/lsn.ts';
import { Violation } from './checker.ts';
import { START, TIMELINE } from './world.ts';

export interface Bounds {
  /** Slots: in each, one process at a time, every one in a higher term than the one before. */
  proposers: number;
  acceptors: number;
  /** The highest term. Two slots may start in the same one. */
  terms: number;
  /** Bytes in a log. */
  entries: number;
}

/** One acceptor: its state, and its log as the processes that wrote it. */
interface Acceptor {
  readonly state: AcceptorState;
  readonly wal: string;
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
  /** By slot, then acceptor: what is to be sent to the acceptor; null while the link is down. */
  readonly links: readonly (readonly (readonly ProposerMessage[] | null)[])[];
  /** By term. */
  readonly leaders: readonly (Leader | null)[];
  readonly committed: string;
}
type Draft = { -readonly [K in keyof Small]: Small[K] } & {
  acceptors: Acceptor[];
  proposers: (ProposerState | null)[];
  links: (readonly ProposerMessage[] | null)[][];
  leaders: (Leader | null)[];
};
const copy = (state: Small): Draft => ({
  ...state,
  acceptors: [...state.acceptors],
  proposers: [...state.proposers],
  links: state.links.map((row) => [...row]),
  leaders: [...state.leaders],
});

/** Wrapped for planted bugs. */
export interface Steps {
  stepAcceptor: typeof stepAcceptor;
  stepProposer: typeof stepProposer;
}
const PRODUCTION: Steps = { stepAcceptor, stepProposer };

const NOTHING_UNDER_WAY: readonly ProposerMessage[] = [];
const TERMS_MAX = 15;
/** The process that slot `slot` is in `term`; also the code of its letter. */
export const processOf = (slot: number, term: number): number => (slot + 1) * (TERMS_MAX + 1) + term;
export const slotOf = (process: number): number => Math.floor(process / (TERMS_MAX + 1)) - 1;
const letter = (process: number): string => String.fromCharCode(process);
const idOf = (process: number): string => process.toString(16).padStart(32, '0');

export class SmallWorld {
  readonly #bounds: Bounds;
  readonly #steps: Steps;

  constructor(bounds: Bounds, steps: Steps = PRODUCTION) {
    assert(bounds.terms <= TERMS_MAX, `at most ${TERMS_MAX} terms`);
    this.#bounds = bounds;
    this.#steps = steps;
  }

  first(): Small {
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

  /** Everything that one action can lead to, at rest. Throws a Violation where an invariant does not hold on the way. */
  successors(state: Small): Small[] {
    const { acceptors, proposers, terms, entries } = this.#bounds;
    const found: Small[] = [];
    const act = (change: (draft: Draft) => void): void => {
      const draft = copy(state);
      change(draft);
      this.#settle(draft, found);
    };
    for (let p = 0; p < proposers; p++) {
      const proposer = state.proposers[p];
      for (let term = (proposer?.config.term ?? 0) + 1; term <= terms; term++) {
        act((draft) => this.#start(draft, p, term));
      }
      if (proposer === null || proposer.phase === 'superseded') continue;
      if (proposer.phase === 'leading' && proposer.buffer.endLsn - START < entries) {
        act((draft) => this.#write(draft, p));
      }
      if (owesAnnouncement(proposer)) act((draft) => this.#stepProposer(draft, p, { type: 'announce' }));
      for (let a = 0; a < acceptors; a++) {
        if (state.links[p][a] !== null) continue;
        act((draft) => {
          draft.links[p][a] = NOTHING_UNDER_WAY;
          this.#stepProposer(draft, p, { type: 'connected', acceptor: a + 1 });
        });
      }
    }
    for (let a = 0; a < acceptors; a++) act((draft) => this.#restart(draft, a));
    return found;
  }

  /** Lets the messages that are to be sent arrive or not, until none is left, in every way. */
  #settle(draft: Draft, found: Small[]): void {
    for (let p = 0; p < draft.links.length; p++) {
      const a = draft.links[p].findIndex((link) => link !== null && link.length > 0);
      if (a === -1) continue;
      const lost = copy(draft);
      this.#cut(lost, p, a);
      this.#settle(lost, found);
      const unanswered = copy(draft);
      this.#deliver(unanswered, p, a, false);
      this.#cut(unanswered, p, a);
      this.#settle(unanswered, found);
      this.#deliver(draft, p, a, true);
      return this.#settle(draft, found);
    }
    found.push(draft);
  }

  #start(draft: Draft, p: number, term: number): void {
    for (let a = 0; a < draft.acceptors.length; a++) {
      if (draft.links[p][a] !== null) this.#endLink(draft, p, a);
    }
    draft.proposers[p] = startProposer({
      timeline: TIMELINE,
      term,
      proposerId: idOf(processOf(p, term)),
      configuration: firstConfiguration(draft.acceptors.map((_, i) => i + 1)),
      limits: { ...DEFAULT_LIMITS, appendsInFlightMax: 1, coalescedBytesMax: 0 },
    });
  }
  #write(draft: Draft, p: number): void {
    const { config, buffer } = draft.proposers[p]!;
    const process = processOf(p, config.term);
    draft.leaders[config.term] = { process, wal: draft.leaders[config.term]!.wal + letter(process) };
    const recordEndLsn = (buffer.endLsn + 1) as Lsn;
    this.#stepProposer(draft, p, { type: 'wal', bytes: Uint8Array.of(process), recordEndLsn });
  }
  /** Without the commit position, which may be durable late. With it, it would be links that break. */
  #restart(draft: Draft, a: number): void {
    for (let p = 0; p < draft.links.length; p++) this.#cut(draft, p, a);
    const { state, wal } = draft.acceptors[a];
    const log = { ...state.log, commitLsn: START, truncateLsn: START };
    draft.acceptors[a] = { state: startAcceptor(TIMELINE, a + 1, log), wal };
  }

  /** Both ends learn of it. */
  #cut(draft: Draft, p: number, a: number): void {
    if (draft.links[p][a] === null) return;
    this.#endLink(draft, p, a);
    this.#stepProposer(draft, p, { type: 'disconnected', acceptor: a + 1 });
  }
  #endLink(draft: Draft, p: number, a: number): void {
    draft.links[p][a] = null;
    this.#stepAcceptor(draft, a, { type: 'disconnected', connection: p });
  }
  /** The next message arrives; `answered`: what the acceptor says to it does so too. */
  #deliver(draft: Draft, p: number, a: number, answered: boolean): void {
    const [message, ...rest] = draft.links[p][a]!;
    draft.links[p][a] = rest.length === 0 ? NOTHING_UNDER_WAY : rest;
    const answers = this.#stepAcceptor(draft, a, { type: 'message', connection: p, message });
    for (const { to, message: answer } of answers) {
      if ((to === p && !answered) || draft.links[to][a] === null) continue;
      this.#stepProposer(draft, to, { type: 'message', acceptor: a + 1, message: answer });
    }
  }

  /** Returns what is to be told to the proposers by slot. */
  #stepAcceptor(draft: Draft, a: number, input: AcceptorInput): { to: number; message: AcceptorMessage }[] {
    const before = draft.acceptors[a];
    const output = this.#steps.stepAcceptor(before.state, input);
    let { wal } = before;
    for (const write of output.writes) {
      if (write.type === 'truncate') wal = wal.slice(0, write.lsn - START);
      else if (write.type === 'wal') for (const part of write.wal) wal += String.fromCharCode(...part);
    }
    draft.acceptors[a] = { state: output.state, wal };
    const answers = output.messages.map(({ connection, message }) => ({ to: connection, message }));
    for (const { connection, term, beginLsn, endLsn } of output.reads) {
      const bytes = wal.slice(beginLsn - START, endLsn - START);
      const sent = Uint8Array.from(bytes, (character) => character.charCodeAt(0));
      const message = { type: 'wal', term, beginLsn, recordEndLsn: endLsn, wal: sent } as const;
      answers.push({ to: connection, message });
    }
    for (const { connection } of output.refusals) this.#cut(draft, connection, a);
    return answers;
  }

  #stepProposer(draft: Draft, p: number, input: ProposerInput): void {
    const before = draft.proposers[p];
    if (before === null) return;
    const { state, messages, disconnects } = this.#steps.stepProposer(before, input);
    draft.proposers[p] = state;
    if (before.phase === 'campaign' && (state.phase === 'recovering' || state.phase === 'leading')) {
      this.#elect(draft, p, state);
    }
    if (state.phase === 'leading' && state.commitLsn > START) this.#commit(draft, p, state);
    for (const { acceptor, message } of messages) {
      const link = draft.links[p][acceptor - 1];
      if (link !== null) draft.links[p][acceptor - 1] = [...link, message];
    }
    if (state.phase === 'superseded') for (let a = 0; a < draft.acceptors.length; a++) this.#cut(draft, p, a);
    for (const { acceptor } of disconnects) this.#cut(draft, p, acceptor - 1);
  }

  #elect(draft: Draft, p: number, { config, history, termStartLsn }: ProposerState): void {
    const { term } = config;
    const process = processOf(p, term);
    const known = draft.leaders[term];
    if (known !== null) throw new Violation(1, `term ${term} has leaders ${known.process} and ${process}`);
    const donor = history.length > 1 ? (draft.leaders[history[history.length - 2].term]?.wal ?? '') : '';
    const wal = donor.slice(0, termStartLsn - START);
    if (wal.length !== termStartLsn - START) throw new Violation(2, `p${p + 1} takes over a log of nobody`);
    draft.leaders[term] = { process, wal };
    const isLast = !draft.leaders.some((leader, other) => other > term && leader !== null);
    if (isLast && !wal.startsWith(draft.committed)) {
      throw new Violation(3, `the leader of term ${term} has ${wal}, committed is ${draft.committed}`);
    }
  }
  #commit(draft: Draft, p: number, { config, commitLsn }: ProposerState): void {
    const commits = draft.leaders[config.term]!.wal.slice(0, commitLsn - START);
    const { committed } = draft;
    const [shorter, longer] = committed.length < commits.length ? [committed, commits] : [commits, committed];
    if (!longer.startsWith(shorter)) {
      throw new Violation(4, `p${p + 1} of term ${config.term} commits ${commits}, ${committed} is`);
    }
    draft.committed = longer;
  }

  /** Throws a Violation where a state at rest is none that may be. */
  check({ acceptors, leaders, committed }: Small): void {
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
    const members = acceptors.map((_, a) => a + 1);
    if (!isMajority(members, (member) => acceptors[member - 1].wal.startsWith(committed))) {
      throw new Violation(4, `no majority has ${committed}`);
    }
  }
}
