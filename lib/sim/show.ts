/** Messages and positions as a person reads them in a trace or a transcript. */
import { describeConfiguration } from '../consensus/configuration.ts';
import type { AcceptorMessage, ProposerMessage } from '../consensus/messages.ts';
import { at } from './world.ts';

export const showHistory = (history: readonly { term: number; lsn: number }[]): string =>
  history.map((entry) => `${entry.term}${at(entry.lsn)}`).join(' ');

export function show(message: ProposerMessage | AcceptorMessage): string {
  switch (message.type) {
    case 'greeting':
      return `greeting term=${message.term}`;
    case 'voteRequest':
      return `vote? term=${message.term}`;
    case 'vote': {
      const given = message.given ? 'given' : 'refused';
      return `vote ${given} term=${message.term} flush=${at(message.flushLsn)} history=[${showHistory(message.history)}]`;
    }
    case 'elected': {
      const begin = message.beginLsn === message.truncateAtLsn ? '' : ` begin=${at(message.beginLsn)}`;
      return `elected term=${message.term} cut=${at(message.truncateAtLsn)}${begin} history=[${showHistory(message.history)}]`;
    }
    case 'append': {
      const length = message.wal.reduce((sum, part) => sum + part.length, 0);
      const end = message.beginLsn + length;
      const record = message.recordEndLsn === end ? '' : ` record=${at(message.recordEndLsn)}`;
      const range = length === 0 ? at(end) : `${at(message.beginLsn)}..${at(end)}`;
      return `append term=${message.term} ${range}${record} commit=${at(message.commitLsn)}`;
    }
    case 'position': {
      const written = message.writtenLsn === message.flushLsn ? '' : ` written=${at(message.writtenLsn)}`;
      return `position term=${message.term} flush=${at(message.flushLsn)}${written} commit=${at(message.commitLsn)}`;
    }
    case 'room':
      return `room term=${message.term} limit=${at(message.limitLsn)}`;
    case 'read':
      return `read term=${message.term} ${at(message.beginLsn)}`;
    case 'wal': {
      const end = message.beginLsn + message.wal.length;
      return `wal term=${message.term} ${at(message.beginLsn)}..${at(end)} record=${at(message.recordEndLsn)}`;
    }
    case 'configuration':
      return `configuration ${describeConfiguration(message.configuration)}`;
    case 'leave':
      return `leave term=${message.term} commit=${at(message.commitLsn)}`;
    default:
      return 'unknown';
  }
}
