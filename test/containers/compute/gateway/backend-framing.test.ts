import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BackendFraming } from '../../../../containers/compute/gateway/backend-framing.ts';

const message = (tag: string, body: Uint8Array): Buffer => {
  const header = Buffer.alloc(5);
  header.write(tag, 'latin1');
  header.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([header, body]);
};
const body = fc.uint8Array({ maxLength: 50 });
const other = fc
  .tuple(fc.constantFrom(...Array.from('RSTDNE123nstIGHAdcWv')), body)
  .map(([tag, bytes]) => message(tag, bytes));
const report = fc.tuple(fc.constantFrom('C', 'Z'), body).map(([tag, bytes]) => message(tag, bytes));
const key = fc
  .tuple(fc.integer({ min: 1, max: 0x7fff_ffff }), fc.uint8Array({ minLength: 4, maxLength: 256 }))
  .map(([pid, secret]) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(pid);
    return { pid, bytes: message('K', Buffer.concat([bytes, secret])) };
  });

test('however the stream is cut, the chunk where a report begins is told, and no other', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(other, report), { maxLength: 30 }),
      key,
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      (messages, { pid, bytes }, sizes) => {
        const framing = new BackendFraming();
        const all = [bytes, ...messages];
        const starts: number[] = [];
        let at = 0;
        for (const one of all) {
          if (one[0] === 0x43 || one[0] === 0x5a) starts.push(at);
          at += one.length;
        }
        const stream = Buffer.concat(all);
        for (let from = 0, i = 0; from < stream.length; i++) {
          const to = Math.min(stream.length, from + sizes[i % sizes.length]);
          const expected = starts.some((start) => start >= from && start < to);
          expect(framing.scan(stream.subarray(from, to))).toBe(expected);
          from = to;
        }
        expect(framing.pid).toBe(pid);
      },
    ),
  );
});

test('any bytes at all are followed without an error', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 })), (chunks) => {
      const framing = new BackendFraming();
      for (const chunk of chunks) framing.scan(chunk);
    }),
  );
});
