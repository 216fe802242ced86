/**
 * Postgres's wire protocol: against pg-protocol, which was written by others; and against bytes of no sense.
 */
import fc from 'fast-check';
import { serialize } from 'pg-protocol';
import { Parser } from 'pg-protocol/dist/parser.js';
import { describe, expect, test } from 'vitest';
import {
  buildAuthentication,
  buildPasswordMessage,
  buildSaslInitialResponse,
  buildSaslResponse,
  parseAuthentication,
  parsePasswordMessage,
  parseSaslInitialResponse,
} from '../../../../lib/postgres/wire/authentication.ts';
import { encodeText, WireError, WireReader, WireWriter } from '../../../../lib/postgres/wire/bytes.ts';
import { buildErrorResponse, parseErrorFields } from '../../../../lib/postgres/wire/error-response.ts';
import {
  buildBackendKeyData,
  buildNegotiateProtocolVersion,
  buildParameterStatus,
  buildReadyForQuery,
  parseBackendKeyData,
  parseNegotiateProtocolVersion,
} from '../../../../lib/postgres/wire/session.ts';

/** What pg-protocol reads out of the bytes of one backend message. */
function read(message: Uint8Array): Record<string, unknown> {
  const parser = new Parser();
  const messages: object[] = [];
  parser.parse(Buffer.from(message), (parsed) => messages.push(parsed));
  expect(messages).toHaveLength(1);
  return messages[0] as Record<string, unknown>;
}
const bodyOf = (message: Uint8Array): Uint8Array => message.subarray(5);
const text = fc.string({ unit: 'binary' }).map((value) => value.replaceAll('\0', ''));
const bytes = fc.uint8Array({ maxLength: 300 });

describe('what we build, others read', () => {
  test('authentication', () => {
    expect(read(buildAuthentication({ kind: 'ok' }))).toMatchObject({ name: 'authenticationOk' });
    expect(read(buildAuthentication({ kind: 'cleartextPassword' }))).toMatchObject({
      name: 'authenticationCleartextPassword',
    });
    expect(read(buildAuthentication({ kind: 'sasl', mechanisms: ['A', 'B'] }))).toMatchObject({
      name: 'authenticationSASL',
      mechanisms: ['A', 'B'],
    });
    const data = encodeText('r=x');
    expect(read(buildAuthentication({ kind: 'saslContinue', data }))).toMatchObject({ data: 'r=x' });
    expect(read(buildAuthentication({ kind: 'saslFinal', data }))).toMatchObject({ data: 'r=x' });
  });

  test('ErrorResponse, whatever stands in it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 400 }), text, (message, hint) => {
        const built = buildErrorResponse({ severity: 'FATAL', code: '28P01', message, hint });
        const expected = { severity: 'FATAL', code: '28P01', message: message.replaceAll('\0', ''), hint };
        expect(read(built)).toMatchObject(expected);
        expect(parseErrorFields(bodyOf(built)).get('V')).toBe('FATAL');
      }),
    );
  });

  test('session', () => {
    const key = { pid: 4711, key: Uint8Array.of(0x7f, 0xff, 0xff, 0xff) };
    expect(read(buildBackendKeyData(key))).toMatchObject({ processID: 4711, secretKey: 0x7fff_ffff });
    expect(parseBackendKeyData(bodyOf(buildBackendKeyData(key)))).toEqual(key);
    expect(read(buildParameterStatus('TimeZone', 'Etc/UTC'))).toMatchObject({
      parameterName: 'TimeZone',
      parameterValue: 'Etc/UTC',
    });
    expect(read(buildReadyForQuery('T'))).toMatchObject({ status: 'T' });
    const negotiate = { version: (3 << 16) | 2, unknownOptions: ['_pq_.a', '_pq_.b'] };
    expect(parseNegotiateProtocolVersion(bodyOf(buildNegotiateProtocolVersion(negotiate)))).toEqual(
      negotiate,
    );
  });
});

describe('what others build, we read', () => {
  test('password and SASL messages', () => {
    fc.assert(
      fc.property(text, text, (mechanism, data) => {
        const initial = serialize.sendSASLInitialResponseMessage(mechanism, data);
        expect(Buffer.from(buildSaslInitialResponse(mechanism, encodeText(data)))).toEqual(initial);
        expect(parseSaslInitialResponse(bodyOf(initial))).toMatchObject({ mechanism });
        const final = serialize.sendSCRAMClientFinalMessage(data);
        expect(Buffer.from(buildSaslResponse(encodeText(data)))).toEqual(final);
        const password = serialize.password(data);
        expect(Buffer.from(buildPasswordMessage(encodeText(data)))).toEqual(password);
        expect(
          new TextDecoder('utf-8', { ignoreBOM: true }).decode(parsePasswordMessage(bodyOf(password))),
        ).toBe(data);
      }),
    );
  });
  test('SASLInitialResponse without data', () => {
    const message = new WireWriter().cstring('X').u32(0xffff_ffff).message(0x70);
    expect(parseSaslInitialResponse(bodyOf(message))).toEqual({ mechanism: 'X', data: null });
  });
});

describe('bytes of no sense', () => {
  const parsers: [string, (body: Uint8Array) => unknown][] = [
    ['authentication request', parseAuthentication],
    ['SASLInitialResponse', parseSaslInitialResponse],
    ['password message', parsePasswordMessage],
    ['ErrorResponse', parseErrorFields],
    ['BackendKeyData', parseBackendKeyData],
    ['NegotiateProtocolVersion', parseNegotiateProtocolVersion],
  ];
  test.each(parsers)('%s: read or refused as malformed', (_, parse) => {
    fc.assert(
      fc.property(bytes, (body) => {
        try {
          parse(body);
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
      { numRuns: 500 },
    );
  });
  test('a reader never gives bytes beyond its message', () => {
    const whole = Uint8Array.of(0, 0, 0, 1, 65, 66, 0, 67);
    const reader = new WireReader(whole.subarray(0, 6), 'test');
    expect(reader.u32()).toBe(1);
    expect(() => reader.cstring()).toThrow('test: string without terminator');
    expect(() => reader.take(3)).toThrow('test of 6 bytes ends at 4: 3 more bytes expected');
    expect(() => reader.end()).toThrow('test: 2 bytes after its end');
  });
  test('a string with a zero byte is never sent', () => {
    expect(() => new WireWriter().cstring('a\0b')).toThrow(WireError);
  });
  test('a writer grows at any point', () => {
    for (let length = 0; length < 300; length++) {
      const message = new WireWriter()
        .bytes(new Uint8Array(length))
        .u32(0x01020304)
        .u8(5)
        .cstring('é')
        .message(0x41);
      expect([...message.subarray(5 + length)]).toEqual([1, 2, 3, 4, 5, 0xc3, 0xa9, 0]);
    }
  });
});
