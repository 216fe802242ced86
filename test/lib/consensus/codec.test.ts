import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  decodeAcceptorMessage,
  decodeProposerMessage,
  encodeAcceptorMessage,
  encodeProposerMessage,
} from '../../../lib/consensus/codec.ts';
import {
  APPEND_BYTES_MAX,
  refusalOfCode,
  REFUSALS,
  type AcceptorMessage,
  type Append,
  type ProposerMessage,
} from '../../../lib/consensus/messages.ts';
import type { TermHistory } from '../../../lib/consensus/term-history.ts';
import { lsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { MalformedMessage } from '../../../lib/protocol/bytes.ts';

const position = fc.maxSafeNat().map((value): Lsn => lsn(value));
const term = fc.maxSafeNat();
const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'));
const bytes = fc.uint8Array({ maxLength: 300 });
const history = fc.uniqueArray(fc.nat(1e9), { minLength: 1, maxLength: 20 }).chain((terms) =>
  fc.array(fc.nat(1e9), { minLength: terms.length, maxLength: terms.length }).map((lsns): TermHistory => {
    const [t, l] = [terms.toSorted((a, b) => a - b), lsns.toSorted((a, b) => a - b)];
    return t.map((value, i) => ({ term: value, lsn: lsn(l[i]) }));
  }),
);
const members = fc
  .uniqueArray(fc.integer({ min: 1, max: 255 }), { minLength: 1, maxLength: 7 })
  .map((numbers) => numbers.toSorted((a, b) => a - b));
const configuration = fc.record({
  generation: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
  members,
  newMembers: fc.option(members),
});
const type = <T extends string>(name: T) => fc.constant(name);

const proposerMessage: fc.Arbitrary<ProposerMessage> = fc.oneof(
  fc.record({
    type: type('greeting'),
    version: fc.nat(65535),
    timelineId: id,
    systemIdentifier: fc.bigInt(0n, 2n ** 64n - 1n),
    startLsn: position,
    postgresMajor: fc.nat(65535),
    term,
    proposerId: id,
    configuration,
  }),
  fc.record({ type: type('voteRequest'), term }),
  fc.record({ type: type('elected'), term, truncateAtLsn: position, beginLsn: position, history }),
  fc.record({
    type: type('append'),
    term,
    beginLsn: position,
    recordEndLsn: position,
    commitLsn: position,
    truncateLsn: position,
    backupBy: fc.nat(255),
    backupLsn: position,
    wal: bytes.map((wal) => (wal.length === 0 ? [] : [wal])),
  }),
  fc.record({ type: type('read'), term, beginLsn: position, bytesMax: fc.nat(2 ** 32 - 1) }),
  fc.record({ type: type('leave'), term, commitLsn: position }),
);
const acceptorMessage: fc.Arbitrary<AcceptorMessage> = fc.oneof(
  fc.record({ type: type('greeting'), version: fc.nat(65535), term, acceptor: fc.nat(255), configuration }),
  fc.record({
    type: type('vote'),
    term,
    given: fc.boolean(),
    flushLsn: position,
    commitLsn: position,
    truncateLsn: position,
    backupLsn: position,
    history,
  }),
  fc.record({
    type: type('position'),
    term,
    flushLsn: position,
    writtenLsn: position,
    commitLsn: position,
    backupLsn: position,
  }),
  fc.record({ type: type('configuration'), term, configuration }),
  fc.record({ type: type('wal'), term, beginLsn: position, recordEndLsn: position, wal: bytes }),
  fc.record({ type: type('room'), term, limitLsn: position }),
);

test('every message survives its binary form', () => {
  fc.assert(
    fc.property(proposerMessage, (message) => {
      expect(decodeProposerMessage(encodeProposerMessage(message))).toEqual(message);
    }),
  );
  fc.assert(
    fc.property(acceptorMessage, (message) => {
      expect(decodeAcceptorMessage(encodeAcceptorMessage(message))).toEqual(message);
    }),
  );
});

/** Decodes, or fails with MalformedMessage: anything else fails the test. */
function decodesOrRefuses(decode: (bytes: Uint8Array) => unknown, message: Uint8Array): void {
  try {
    decode(message);
  } catch (error) {
    if (!(error instanceof MalformedMessage)) throw error;
  }
}

test('garbage, cut and altered messages are decoded or refused, never anything else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (garbage) => {
      decodesOrRefuses(decodeProposerMessage, garbage);
      decodesOrRefuses(decodeAcceptorMessage, garbage);
    }),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(proposerMessage, acceptorMessage, fc.nat(), fc.nat(255), (proposer, acceptor, at, value) => {
      for (const [encoded, decode] of [
        [encodeProposerMessage(proposer), decodeProposerMessage],
        [encodeAcceptorMessage(acceptor), decodeAcceptorMessage],
      ] as const) {
        decodesOrRefuses(decode, encoded.slice(0, at % encoded.length));
        const altered = encoded.slice();
        altered[at % altered.length] = value;
        decodesOrRefuses(decode, altered);
      }
    }),
    { numRuns: 1000 },
  );
});

test('lengths are checked against their maxima', () => {
  const at = lsn(0x3000000);
  const append = (wal: Uint8Array[]): Append => ({
    type: 'append',
    term: 1,
    beginLsn: at,
    recordEndLsn: at,
    commitLsn: at,
    truncateLsn: at,
    backupBy: 1,
    backupLsn: at,
    wal,
  });
  const half = new Uint8Array(APPEND_BYTES_MAX / 2);
  const whole = decodeProposerMessage(encodeProposerMessage(append([half, half])));
  expect(whole).toMatchObject({ type: 'append', wal: [{ length: APPEND_BYTES_MAX }] });
  expect(() => decodeProposerMessage(encodeProposerMessage(append([half, half, new Uint8Array(1)])))).toThrow(
    /1048577 bytes of WAL: at most 1048576/,
  );

  const elected = encodeProposerMessage({
    type: 'elected',
    term: 1,
    truncateAtLsn: at,
    beginLsn: at,
    history: [],
  });
  expect(() => decodeProposerMessage(elected)).toThrow(/term history is empty/);
  const claim = elected.slice();
  new DataView(claim.buffer).setUint32(25, 5000, true);
  expect(() => decodeProposerMessage(claim)).toThrow(/history of 5000 does not fit/);
  new DataView(claim.buffer).setUint32(25, 0xffffffff, true);
  expect(() => decodeProposerMessage(claim)).toThrow(/history of 4294967295: at most 65536/);
  const beyond = encodeProposerMessage({ type: 'voteRequest', term: 7 }).slice();
  beyond.fill(0xff, 1);
  expect(() => decodeProposerMessage(beyond)).toThrow(/not below 2\^53/);
});

test('each refusal has a close code of its own', () => {
  const codes = Object.values(REFUSALS).map((refusal) => refusal.code);
  expect(new Set(codes).size).toBe(codes.length);
  for (const [reason, { code }] of Object.entries(REFUSALS)) {
    expect(code).toBeGreaterThanOrEqual(4000);
    expect(code).toBeLessThan(5000);
    expect(refusalOfCode(code)).toBe(reason);
  }
  expect(refusalOfCode(1000)).toBeNull();
});
