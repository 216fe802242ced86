/**
 * Planted bugs: mistakes that one could make, each to be found by the simulator within so many seeds from 1 on
 * (test/lib/sim/bugs.test.ts). They wrap the steps and the shells' storage; lib/consensus itself knows nothing of them.
 */
import type { AcceptorOutput, AcceptorState } from '../consensus/acceptor-state.ts';
import { isMajority } from '../consensus/configuration.ts';
import { stepAcceptor } from '../consensus/acceptor.ts';
import { logHead } from '../consensus/log-head.ts';
import { stepMembership } from '../consensus/membership.ts';
import type { ProposerState } from '../consensus/proposer-state.ts';
import { stepProposer } from '../consensus/proposer.ts';
import { lastTermOf, upTo } from '../consensus/term-history.ts';
import { trimLimit } from '../consensus/trimming.ts';
import type { Lsn } from '../postgres/lsn.ts';
import { PRODUCTION, type Seams } from './seams.ts';

export interface Bug {
  what: string;
  /** Found within so many seeds. */
  seeds: number;
  seams: Partial<Seams>;
}

const withLog = (output: AcceptorOutput, log: Partial<AcceptorState['log']>): AcceptorOutput => ({
  ...output,
  state: { ...output.state, log: { ...output.state.log, ...log } },
});
const highest = (state: ProposerState, count: number): Lsn => {
  const known = state.acceptors.map(({ flushLsn }) => flushLsn ?? (0 as Lsn)).sort((a, b) => b - a);
  return known[count - 1] ?? (0 as Lsn);
};

export const BUGS: Record<string, Bug> = {
  'acknowledge-before-sync': {
    what: 'a safekeeper answers when its writes are applied, not when they are durable',
    seeds: 100,
    seams: { answersAfterSync: false },
  },
  'vote-forgotten': {
    what: 'whom it voted for is not stored: after a restart a safekeeper votes again',
    seeds: 300,
    seams: {
      stored: (writes) =>
        writes.map((write) => (write.type === 'term' ? { ...write, votedFor: null } : write)),
    },
  },
  'votes-for-anyone': {
    what: 'a vote is for the term and not for one process',
    seeds: 300,
    seams: {
      stepAcceptor: (state, input) => {
        const output = stepAcceptor(state, input);
        for (const { message } of output.messages) {
          if (message.type === 'vote' && input.type === 'message' && input.message.type === 'voteRequest') {
            message.given = message.term === input.message.term;
          }
        }
        return output;
      },
    },
  },
  'commits-older-terms': {
    what: 'what a quorum of voters holds is committed, whichever term wrote it (Raft, figure 8)',
    seeds: 300,
    seams: {
      stepProposer: (state, input) => {
        const output = stepProposer(state, input);
        if (state.phase !== 'recovering' || output.state.phase !== 'recovering') return output;
        const held = [...output.state.votes.values()].map(({ flushLsn }) => flushLsn).sort((a, b) => b - a);
        const commitLsn = held[Math.floor(output.state.acceptors.length / 2)];
        if (commitLsn === undefined || commitLsn <= output.state.commitLsn) return output;
        return { ...output, state: { ...output.state, commitLsn } };
      },
    },
  },
  'minority-commits': {
    what: 'one acceptor is enough for a commit',
    seeds: 100,
    seams: {
      stepProposer: (state, input) => {
        const output = stepProposer(state, input);
        const commitLsn = highest(output.state, 1);
        if (output.state.phase !== 'leading' || commitLsn <= output.state.commitLsn) return output;
        return { ...output, state: { ...output.state, commitLsn } };
      },
    },
  },
  'counts-the-disconnected-twice': {
    what: 'after a connection is made anew, what is on its way counts as durable',
    seeds: 300,
    seams: {
      stepProposer: (state, input) => {
        const output = stepProposer(state, input);
        if (input.type !== 'message' || input.message.type !== 'vote' || state.phase !== 'leading')
          return output;
        const acceptors = output.state.acceptors.map((acceptor) =>
          acceptor.number === input.acceptor
            ? { ...acceptor, flushLsn: state.buffer.recordEndLsn }
            : acceptor,
        );
        return { ...output, state: { ...output.state, acceptors } };
      },
    },
  },
  'divergent-tail-kept': {
    what: 'an acceptor does not cut its tail, and takes an append that overlaps it as known',
    seeds: 300,
    seams: {
      stepAcceptor: (state, input) => {
        if (input.type !== 'message') return stepAcceptor(state, input);
        const { message } = input;
        if (message.type === 'elected') {
          const output = stepAcceptor(state, input);
          if (output.refusals.some(({ connection }) => connection === input.connection)) return output;
          const { flushLsn, writtenLsn } = state.log;
          if (output.writes.some((write) => write.type === 'begin')) return output;
          if (!output.writes.some((write) => write.type === 'truncate')) return output;
          output.writes = output.writes.filter((write) => write.type !== 'truncate');
          return withLog(output, { flushLsn, writtenLsn });
        }
        const known = state.log.writtenLsn;
        if (message.type === 'append' && message.beginLsn < known && message.term === state.log.term) {
          const wal = [
            new Uint8Array(message.wal.flatMap((part) => [...part])).slice(known - message.beginLsn),
          ];
          const rest = wal[0].length === 0 ? [] : wal;
          const recordEndLsn =
            message.recordEndLsn > state.log.flushLsn ? message.recordEndLsn : state.log.flushLsn;
          const end = recordEndLsn > known && rest.length === 0 ? state.log.flushLsn : recordEndLsn;
          return stepAcceptor(state, {
            ...input,
            message: { ...message, beginLsn: known, recordEndLsn: end, wal: rest },
          });
        }
        return stepAcceptor(state, input);
      },
    },
  },
  'stale-append-taken': {
    what: 'an append of an older term is taken when it fits',
    seeds: 300,
    seams: {
      stepAcceptor: (state, input) => {
        if (input.type !== 'message' || input.message.type !== 'append') return stepAcceptor(state, input);
        const { message, connection } = input;
        if (message.term >= state.log.term || message.beginLsn !== state.log.writtenLsn) {
          return stepAcceptor(state, input);
        }
        const { writing } = state;
        const term = state.log.term;
        const output = stepAcceptor(
          { ...state, writing: connection },
          { ...input, message: { ...message, term } },
        );
        for (const answer of output.messages) answer.message.term = message.term;
        return { ...output, state: { ...output.state, writing } };
      },
    },
  },
  'trims-before-backup': {
    what: 'local WAL goes as soon as the pageserver has it, backed up or not',
    seeds: 100,
    seams: {
      trimLimit: (needed, kept) => trimLimit({ ...needed, backupLsn: needed.commitLsn }, kept),
    },
  },
  'trims-before-ingest': {
    what: 'local WAL goes as soon as it is backed up, ingested or not',
    seeds: 100,
    seams: {
      trimLimit: (needed, kept) => trimLimit({ ...needed, remoteConsistentLsn: needed.commitLsn }, kept),
    },
  },
  'backs-up-uncommitted': {
    what: 'a safekeeper copies what it has flushed',
    seeds: 300,
    seams: { backupEnd: (log) => log.flushLsn },
  },
  'joint-is-new': {
    what: 'while joint, a majority of the new members is enough',
    seeds: 300,
    seams: {
      stepProposer: (state, input) => {
        const before = state.configuration;
        if (before.newMembers === null) return stepProposer(state, input);
        const { generation, newMembers } = before;
        const alone = { generation, members: newMembers, newMembers: null };
        let heard = input;
        if (input.type === 'message' && input.message.type === 'greeting') {
          if (input.message.configuration.generation === generation) {
            heard = { ...input, message: { ...input.message, configuration: alone } };
          }
        }
        const output = stepProposer({ ...state, configuration: alone }, heard);
        const messages = output.messages.map(({ acceptor, message }) => ({
          acceptor,
          message: message.type === 'greeting' ? { ...message, configuration: before } : message,
        }));
        const configuration = output.state.configuration === alone ? before : output.state.configuration;
        return { ...output, messages, state: { ...output.state, configuration } };
      },
    },
  },
  'settles-at-once': {
    what: 'the new members take over as soon as a majority of them has heard, whatever they have',
    seeds: 300,
    seams: {
      stepMembership: (state, input) => {
        const output = stepMembership(state, input);
        const { state: after } = output;
        if (after.phase !== 'joining' || input.type !== 'status') return output;
        const members = after.configuration.newMembers!;
        if (!isMajority(members, (member) => after.last.has(member))) return output;
        const sync = { term: 0, lastLogTerm: -1, flushLsn: 0 as Lsn };
        const last = new Map(members.map((member) => [member, { ...input.status, lastLogTerm: 2 ** 40 }]));
        return stepMembership({ ...after, sync, last }, input);
      },
    },
  },
  'older-configuration-obeyed': {
    what: 'an acceptor goes on obeying a proposer that has not heard of the newer configuration',
    seeds: 1000,
    seams: {
      stepAcceptor: (state, input) => {
        const output = stepAcceptor(state, input);
        const { generation } = output.state.log.configuration;
        if (generation === state.log.configuration.generation) return output;
        const connections = new Map(
          [...output.state.connections].map(([id, connection]) => [id, { ...connection, generation }]),
        );
        const messages = output.messages.filter(({ message }) => message.type !== 'configuration');
        return { ...output, messages, state: { ...output.state, connections, writing: state.writing } };
      },
    },
  },
  'configuration-forgotten': {
    what: 'the configuration is not stored',
    seeds: 300,
    seams: { stored: (writes) => writes.filter((write) => write.type !== 'configuration') },
  },
  'head-of-mixed-terms': {
    what: 'what two safekeepers have counts as the head, whichever terms wrote it',
    seeds: 3000,
    seams: {
      logHead: (reaches) => {
        const lastTerm = Math.max(...reaches.map((reach) => reach.lastTerm));
        return logHead(reaches.map((reach) => ({ ...reach, lastTerm })));
      },
    },
  },
  'learns-for-another-term': {
    what: 'a safekeeper takes what is committed in another term than its own as committed',
    seeds: 3000,
    seams: {
      stepAcceptor: (state, input) => {
        if (input.type !== 'committed') return stepAcceptor(state, input);
        const term = lastTermOf(upTo(state.log.history, state.log.flushLsn));
        return stepAcceptor(state, { ...input, term });
      },
    },
  },
  'torn-transaction': {
    what: 'the cut of a tail and the new term history are not one transaction',
    seeds: 3000,
    seams: { atomicTransactions: false },
  },
  'commit-beyond-the-log': {
    what: 'an acceptor takes a commit position that its log does not reach',
    seeds: 100,
    seams: {
      stepAcceptor: (state, input) => {
        const output = stepAcceptor(state, input);
        if (input.type !== 'message' || input.message.type !== 'append') return output;
        const { commitLsn } = input.message;
        return output.state.log.commitLsn < commitLsn && output.refusals.length === 0
          ? withLog(output, { commitLsn })
          : output;
      },
    },
  },
  'lost-storage-comes-back': {
    what: 'a safekeeper whose storage is gone comes back empty under its number',
    seeds: 300,
    seams: { lostStorageStaysAway: false },
  },
};

export function seamsOf(name?: string): Seams {
  if (name === undefined) return PRODUCTION;
  const bug = BUGS[name];
  if (bug === undefined) throw new RangeError(`no planted bug ${name}`);
  return { ...PRODUCTION, ...bug.seams };
}
