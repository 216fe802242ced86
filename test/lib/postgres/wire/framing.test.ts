/** Cutting a stream into messages: the same ones however it is chunked, and never more held than allowed. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WireWriter } from '../../../../lib/postgres/wire/bytes.ts';
import { MessageBuffer, STARTUP_BODY_BYTES_MAX } from '../../../../lib/postgres/wire/framing.ts';
import { buildSslRequest, buildStartupMessage } from '../../../../lib/postgres/wire/startup.ts';

/** `bytes` cut where `cuts` say, fractions of the length. */
function chunked(bytes: Uint8Array, cuts: number[]): Uint8Array<ArrayBuffer>[] {
  const at = [0, ...cuts.map((cut) => Math.floor(cut * bytes.length)), bytes.length].sort((a, b) => a - b);
  return at.slice(1).map((end, i) => new Uint8Array(bytes.subarray(at[i], end)));
}
function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });
const message = fc
  .tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 100 }))
  .map(([tag, body]) => ({ tag, body, bytes: new WireWriter().bytes(body).message(tag) }));

test('messages come out as they went in, whatever the chunks', () => {
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 8 }),
      fc.uint8Array({ maxLength: 4 }),
      cuts,
      (messages, rest, cuts) => {
        const buffer = new MessageBuffer();
        const seen: { tag: number; body: number[]; bytes: number[] }[] = [];
        for (const chunk of chunked(concatenated([...messages.map((each) => each.bytes), rest]), cuts)) {
          buffer.push(chunk);
          for (let next = buffer.message(100); next !== null; next = buffer.message(100))
            seen.push({ tag: next.tag, body: [...next.body], bytes: [...next.bytes] });
        }
        expect(seen).toEqual(
          messages.map(({ tag, body, bytes }) => ({ tag, body: [...body], bytes: [...bytes] })),
        );
        expect(buffer.length).toBe(rest.length);
        expect([...buffer.takeRest()]).toEqual([...rest]);
        expect(buffer.length).toBe(0);
      },
    ),
  );
});

test('startup packets too, and tagged messages behind them', () => {
  const startup = buildStartupMessage(0, [['user', 'conrad']]);
  const password = new WireWriter().cstring('secret').message(0x70);
  fc.assert(
    fc.property(cuts, (cuts) => {
      const buffer = new MessageBuffer();
      const packets: Uint8Array[] = [];
      for (const chunk of chunked(concatenated([buildSslRequest(), startup, password]), cuts)) {
        buffer.push(chunk);
        while (packets.length < 2) {
          const packet = buffer.startupPacket();
          if (packet === null) break;
          packets.push(packet);
        }
      }
      expect(packets.map((packet) => packet.length)).toEqual([4, startup.length - 4]);
      expect(buffer.message(100)).toMatchObject({ tag: 0x70 });
    }),
  );
});

describe('a length is judged before its bytes are there', () => {
  const u32 = (value: number): number[] => [
    value >>> 24,
    (value >> 16) & 255,
    (value >> 8) & 255,
    value & 255,
  ];
  const bufferOf = (...bytes: number[]): MessageBuffer => {
    const buffer = new MessageBuffer();
    buffer.push(Uint8Array.from(bytes));
    return buffer;
  };
  test.each([0, 3, 4, 7, STARTUP_BODY_BYTES_MAX + 5, 0x8000_0000, 0xffff_ffff])(
    'startup packet of %i',
    (length) => {
      expect(() => bufferOf(...u32(length)).startupPacket()).toThrow('invalid length of startup packet');
    },
  );
  test.each([8, STARTUP_BODY_BYTES_MAX + 4])('startup packet of %i is waited for', (length) => {
    expect(bufferOf(...u32(length)).startupPacket()).toBe(null);
  });
  test.each([0, 3, 105, 0xffff_ffff])('message of %i', (length) => {
    expect(() => bufferOf(0x51, ...u32(length)).message(100)).toThrow('invalid length of message "Q"');
    expect(() => bufferOf(0xfe, ...u32(length)).message(100)).toThrow('invalid length of message of tag 254');
  });
  test.each([5, 104])('message of %i is waited for', (length) => {
    expect(bufferOf(0x51, ...u32(length)).message(100)).toBe(null);
  });
});
