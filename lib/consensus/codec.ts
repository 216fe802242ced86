/**
 * Binary form of the consensus messages: one WebSocket message each, little-endian, the first byte names the type.
 *
 *   'g' greeting  u16 version, then  proposer: timelineId 16, systemIdentifier u64, startLsn u64, major u16,
 *                                              term u64, proposerId 16, configuration
 *                                    acceptor: term u64, acceptor u8, configuration
 *   'v' vote      proposer: term u64
 *                 acceptor: term u64, given u8, flush u64, commit u64, truncate u64, backup u64, history
 *   'e' elected   term u64, truncateAt u64, begin u64, history
 *   'a' append    term u64, begin u64, recordEnd u64, commit u64, truncate u64, backupBy u8, backup u64,
 *                 WAL to the end
 *   'p' position  term u64, flush u64, written u64, commit u64, backup u64
 *   'r' read      term u64, begin u64, bytesMax u32
 *   'w' wal       term u64, begin u64, recordEnd u64, WAL to the end
 *   'l' leave     term u64, commit u64
 *   'm' room      term u64, limit u64
 *   'c' configuration  term u64, configuration
 *   configuration u32 generation, u8 n, n × u8 member, u8 m (0: not joint), m × u8 new member
 *   history       u32 n, n × (term u64, lsn u64)
 *
 * Decoders throw MalformedMessage and check every length before they use it; what a position may be in a given
 * state is the acceptor's and the proposer's to judge.
 */
import { ByteReader, ByteWriter, MalformedMessage } from '../protocol/bytes.ts';
import { assertNever } from '../assert.ts';
import {
  APPEND_BYTES_MAX,
  TERM_HISTORY_MAX,
  walLength,
  type AcceptorMessage,
  type ProposerMessage,
} from './messages.ts';
import { configurationFault, MEMBERS_MAX, type AcceptorNumber, type Configuration } from './configuration.ts';
import { historyFault, type TermHistory, type TermStart } from './term-history.ts';

const TAG = { greeting: 0x67, vote: 0x76, elected: 0x65, append: 0x61 } as const;
const TAG_POSITION = 0x70;
const TAG_READ = 0x72;
const TAG_WAL = 0x77;
const TAG_LEAVE = 0x6c;
const TAG_ROOM = 0x6d;
const TAG_CONFIGURATION = 0x63;

/** Bytes before the WAL of an append. */
export const APPEND_HEADER_BYTES = 50;
/** The longest message that either side may send. */
export const CONSENSUS_MESSAGE_BYTES_MAX = Math.max(
  APPEND_HEADER_BYTES + APPEND_BYTES_MAX,
  64 + 16 * TERM_HISTORY_MAX,
);

function writeId(writer: ByteWriter, id: string): void {
  if (!/^[0-9a-f]{32}$/.test(id)) throw new RangeError(`id ${JSON.stringify(id)}: 32 hexadecimal digits`);
  for (let i = 0; i < 32; i += 2) writer.u8(Number.parseInt(id.slice(i, i + 2), 16));
}
function readId(reader: ByteReader): string {
  let id = '';
  for (const byte of reader.take(16)) id += byte.toString(16).padStart(2, '0');
  return id;
}
function writeU64(writer: ByteWriter, value: bigint): void {
  writer.u32(Number(value & 0xffff_ffffn)).u32(Number(value >> 32n));
}
const readU64 = (reader: ByteReader): bigint => BigInt(reader.u32()) | (BigInt(reader.u32()) << 32n);

function writeHistory(writer: ByteWriter, history: TermHistory): void {
  writer.u32(history.length);
  for (const { term, lsn } of history) writer.u53(term).u53(lsn);
}
function readHistory(reader: ByteReader): TermHistory {
  const count = reader.u32();
  if (count > TERM_HISTORY_MAX)
    throw new MalformedMessage(`history of ${count}: at most ${TERM_HISTORY_MAX}`);
  if (count * 16 > reader.remaining)
    throw new MalformedMessage(`history of ${count} does not fit the message`);
  const history: TermStart[] = [];
  for (let i = 0; i < count; i++) history.push({ term: reader.u53(), lsn: reader.lsn() });
  const fault = historyFault(history);
  if (fault !== null) throw new MalformedMessage(fault);
  return history;
}
function writeConfiguration(writer: ByteWriter, { generation, members, newMembers }: Configuration): void {
  writer.u32(generation).u8(members.length);
  for (const member of members) writer.u8(member);
  writer.u8(newMembers === null ? 0 : newMembers.length);
  for (const member of newMembers ?? []) writer.u8(member);
}
function readConfiguration(reader: ByteReader): Configuration {
  const generation = reader.u32();
  const members = readMembers(reader);
  const newMembers = readMembers(reader);
  const configuration = { generation, members, newMembers: newMembers.length === 0 ? null : newMembers };
  const fault = configurationFault(configuration);
  if (fault !== null) throw new MalformedMessage(`configuration: ${fault}`);
  return configuration;
}
function readMembers(reader: ByteReader): AcceptorNumber[] {
  const count = reader.u8();
  if (count > MEMBERS_MAX) throw new MalformedMessage(`${count} members: at most ${MEMBERS_MAX}`);
  return [...reader.take(count)];
}
function readWal(reader: ByteReader): Uint8Array {
  const wal = reader.rest();
  if (wal.length > APPEND_BYTES_MAX) {
    throw new MalformedMessage(`${wal.length} bytes of WAL: at most ${APPEND_BYTES_MAX}`);
  }
  return wal;
}
function readBoolean(reader: ByteReader): boolean {
  const value = reader.u8();
  if (value > 1) throw new MalformedMessage(`boolean of ${value}`);
  return value === 1;
}

export function encodeProposerMessage(message: ProposerMessage): Uint8Array {
  switch (message.type) {
    case 'greeting': {
      const writer = new ByteWriter(80).u8(TAG.greeting).u16(message.version);
      writeId(writer, message.timelineId);
      writeU64(writer, message.systemIdentifier);
      writer.u53(message.startLsn).u16(message.postgresMajor).u53(message.term);
      writeId(writer, message.proposerId);
      writeConfiguration(writer, message.configuration);
      return writer.done();
    }
    case 'voteRequest':
      return new ByteWriter(9).u8(TAG.vote).u53(message.term).done();
    case 'elected': {
      const writer = new ByteWriter(29 + 16 * message.history.length).u8(TAG.elected);
      writer.u53(message.term).u53(message.truncateAtLsn).u53(message.beginLsn);
      writeHistory(writer, message.history);
      return writer.done();
    }
    case 'append': {
      const writer = new ByteWriter(APPEND_HEADER_BYTES + walLength(message)).u8(TAG.append);
      writer.u53(message.term).u53(message.beginLsn).u53(message.recordEndLsn).u53(message.commitLsn);
      writer.u53(message.truncateLsn).u8(message.backupBy).u53(message.backupLsn);
      for (const part of message.wal) writer.bytes(part);
      return writer.done();
    }
    case 'read':
      return new ByteWriter(21)
        .u8(TAG_READ)
        .u53(message.term)
        .u53(message.beginLsn)
        .u32(message.bytesMax)
        .done();
    case 'leave':
      return new ByteWriter(17).u8(TAG_LEAVE).u53(message.term).u53(message.commitLsn).done();
    default:
      return assertNever(message, 'proposer message');
  }
}

/** Throws MalformedMessage. WAL bytes are a view of `bytes`. */
export function decodeProposerMessage(bytes: Uint8Array): ProposerMessage {
  const reader = new ByteReader(bytes);
  const tag = reader.u8();
  const message = readProposerMessage(tag, reader);
  reader.end();
  return message;
}

function readProposerMessage(tag: number, reader: ByteReader): ProposerMessage {
  switch (tag) {
    case TAG.greeting:
      return {
        type: 'greeting',
        version: reader.u16(),
        timelineId: readId(reader),
        systemIdentifier: readU64(reader),
        startLsn: reader.lsn(),
        postgresMajor: reader.u16(),
        term: reader.u53(),
        proposerId: readId(reader),
        configuration: readConfiguration(reader),
      };
    case TAG.vote:
      return { type: 'voteRequest', term: reader.u53() };
    case TAG.elected:
      return {
        type: 'elected',
        term: reader.u53(),
        truncateAtLsn: reader.lsn(),
        beginLsn: reader.lsn(),
        history: readHistory(reader),
      };
    case TAG.append: {
      const head = {
        type: 'append' as const,
        term: reader.u53(),
        beginLsn: reader.lsn(),
        recordEndLsn: reader.lsn(),
        commitLsn: reader.lsn(),
        truncateLsn: reader.lsn(),
        backupBy: reader.u8(),
        backupLsn: reader.lsn(),
      };
      const wal = readWal(reader);
      return { ...head, wal: wal.length === 0 ? [] : [wal] };
    }
    case TAG_READ:
      return { type: 'read', term: reader.u53(), beginLsn: reader.lsn(), bytesMax: reader.u32() };
    case TAG_LEAVE:
      return { type: 'leave', term: reader.u53(), commitLsn: reader.lsn() };
    default:
      throw new MalformedMessage(`proposer message of tag ${tag}`);
  }
}

export function encodeAcceptorMessage(message: AcceptorMessage): Uint8Array {
  switch (message.type) {
    case 'greeting': {
      const writer = new ByteWriter(24).u8(TAG.greeting).u16(message.version);
      writer.u53(message.term).u8(message.acceptor);
      writeConfiguration(writer, message.configuration);
      return writer.done();
    }
    case 'vote': {
      const writer = new ByteWriter(46 + 16 * message.history.length).u8(TAG.vote).u53(message.term);
      writer
        .u8(message.given ? 1 : 0)
        .u53(message.flushLsn)
        .u53(message.commitLsn)
        .u53(message.truncateLsn)
        .u53(message.backupLsn);
      writeHistory(writer, message.history);
      return writer.done();
    }
    case 'position':
      return new ByteWriter(41)
        .u8(TAG_POSITION)
        .u53(message.term)
        .u53(message.flushLsn)
        .u53(message.writtenLsn)
        .u53(message.commitLsn)
        .u53(message.backupLsn)
        .done();
    case 'wal':
      return new ByteWriter(25 + message.wal.length)
        .u8(TAG_WAL)
        .u53(message.term)
        .u53(message.beginLsn)
        .u53(message.recordEndLsn)
        .bytes(message.wal)
        .done();
    case 'room':
      return new ByteWriter(17).u8(TAG_ROOM).u53(message.term).u53(message.limitLsn).done();
    case 'configuration': {
      const writer = new ByteWriter(24).u8(TAG_CONFIGURATION).u53(message.term);
      writeConfiguration(writer, message.configuration);
      return writer.done();
    }
    default:
      return assertNever(message, 'acceptor message');
  }
}

/** Throws MalformedMessage. WAL bytes are a view of `bytes`. */
export function decodeAcceptorMessage(bytes: Uint8Array): AcceptorMessage {
  const reader = new ByteReader(bytes);
  const tag = reader.u8();
  const message = readAcceptorMessage(tag, reader);
  reader.end();
  return message;
}

function readAcceptorMessage(tag: number, reader: ByteReader): AcceptorMessage {
  switch (tag) {
    case TAG.greeting:
      return {
        type: 'greeting',
        version: reader.u16(),
        term: reader.u53(),
        acceptor: reader.u8(),
        configuration: readConfiguration(reader),
      };
    case TAG.vote:
      return {
        type: 'vote',
        term: reader.u53(),
        given: readBoolean(reader),
        flushLsn: reader.lsn(),
        commitLsn: reader.lsn(),
        truncateLsn: reader.lsn(),
        backupLsn: reader.lsn(),
        history: readHistory(reader),
      };
    case TAG_POSITION:
      return {
        type: 'position',
        term: reader.u53(),
        flushLsn: reader.lsn(),
        writtenLsn: reader.lsn(),
        commitLsn: reader.lsn(),
        backupLsn: reader.lsn(),
      };
    case TAG_WAL:
      return {
        type: 'wal',
        term: reader.u53(),
        beginLsn: reader.lsn(),
        recordEndLsn: reader.lsn(),
        wal: readWal(reader),
      };
    case TAG_ROOM:
      return { type: 'room', term: reader.u53(), limitLsn: reader.lsn() };
    case TAG_CONFIGURATION:
      return { type: 'configuration', term: reader.u53(), configuration: readConfiguration(reader) };
    default:
      throw new MalformedMessage(`acceptor message of tag ${tag}`);
  }
}
