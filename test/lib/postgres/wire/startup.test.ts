/** The first packet of a client: what is accepted, what it means, and that nothing else gets through. */
import fc from 'fast-check';
import { serialize } from 'pg-protocol';
import { describe, expect, test } from 'vitest';
import { WireError } from '../../../../lib/postgres/wire/bytes.ts';
import {
  buildCancelRequest,
  buildGssencRequest,
  buildSslRequest,
  buildStartupMessage,
  CANCEL_KEY_BYTES_MAX,
  parseStartupPacket,
} from '../../../../lib/postgres/wire/startup.ts';

const parse = (packet: Uint8Array) => parseStartupPacket(packet.subarray(4));
const name = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 20 })
  .map((value) => value.replaceAll('\0', 'x'));
const value = fc.string({ unit: 'binary', maxLength: 40 }).map((each) => each.replaceAll('\0', ''));

test('requests, as pg-protocol builds them', () => {
  expect(Buffer.from(buildSslRequest())).toEqual(serialize.requestSsl());
  expect(parse(buildSslRequest())).toEqual({ kind: 'ssl' });
  expect(parse(buildGssencRequest())).toEqual({ kind: 'gssenc' });
  const key = Uint8Array.of(1, 2, 3, 4);
  expect(Buffer.from(buildCancelRequest(7, key))).toEqual(serialize.cancel(7, 0x01020304));
  expect(parse(buildCancelRequest(0xffff_ffff, key))).toEqual({ kind: 'cancel', pid: 0xffff_ffff, key });
});

test('startup message of pg-protocol', () => {
  expect(parse(serialize.startup({ user: 'conrad', database: 'main' }))).toEqual({
    kind: 'startup',
    minor: 0,
    parameters: new Map([
      ['user', 'conrad'],
      ['database', 'main'],
      ['client_encoding', 'UTF8'],
    ]),
    protocolOptions: [],
  });
});

test('whatever is built is read back', () => {
  fc.assert(
    fc.property(
      fc.nat(65535),
      fc.uniqueArray(fc.tuple(name, value), { selector: ([key]) => key }),
      (minor, list) => {
        const packet = parse(buildStartupMessage(minor, list));
        expect(packet).toEqual({
          kind: 'startup',
          minor,
          parameters: new Map(list.filter(([key]) => !key.startsWith('_pq_.'))),
          protocolOptions: list.map(([key]) => key).filter((key) => key.startsWith('_pq_.')),
        });
      },
    ),
  );
});

test('of a parameter that is given twice the last counts, as in Postgres', () => {
  const packet = buildStartupMessage(0, [
    ['user', 'someone'],
    ['user', 'ebb_admin'],
  ]);
  expect(parse(packet)).toMatchObject({ parameters: new Map([['user', 'ebb_admin']]) });
});

test.each([1, CANCEL_KEY_BYTES_MAX])('a cancel key of %i bytes', (length) => {
  const key = new Uint8Array(length).fill(9);
  expect(parse(buildCancelRequest(1, key))).toEqual({ kind: 'cancel', pid: 1, key });
});
test.each([0, CANCEL_KEY_BYTES_MAX + 1])('no cancel key of %i bytes', (length) => {
  expect(() => parse(buildCancelRequest(1, new Uint8Array(length)))).toThrow(
    `invalid length of cancel key: ${length} bytes, 1 to 256 expected`,
  );
});

describe('refused', () => {
  const bytes = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));
  test.each([
    ['\0\x02\0\0', 'version', 'unsupported frontend protocol 2.0: server supports 3.0 to 3.2'],
    ['\x04\xd2\x16\x2d', 'version', 'unsupported frontend protocol 1234.5677: server supports 3.0 to 3.2'],
    ['\0\x03\0', 'truncated', 'startup packet of 3 bytes ends at 2: 2 more bytes expected'],
    ['\0\x03\0\0', 'layout', 'invalid startup packet layout: expected terminator as last byte'],
    ['\0\x03\0\0user\0x\0', 'layout', 'invalid startup packet layout: expected terminator as last byte'],
    ['\0\x03\0\0\0x', 'layout', 'invalid startup packet layout: expected terminator as last byte'],
    ['\0\x03\0\0user\0x', 'truncated', 'startup packet: string without terminator'],
    ['\0\x03\0\0user\0\xff\0\0', 'encoding', 'string in startup packet is not valid UTF-8'],
  ])('%j', (packet, code, message) => {
    const error = (() => {
      try {
        return parseStartupPacket(bytes(packet));
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toMatchObject({ name: 'WireError', code, message });
  });

  test('any bytes are a packet or a WireError', () => {
    const start = fc.constantFrom([], [0, 3, 0, 0], [4, 210, 22, 46], [4, 210, 22, 47]);
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 80 }), (head, tail) => {
        try {
          parseStartupPacket(Uint8Array.from([...head, ...tail]));
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
