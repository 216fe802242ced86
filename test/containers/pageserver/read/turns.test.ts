import { expect, test } from 'vitest';
import { Turns } from '../../../../containers/pageserver/read/turns.ts';

/** Keeps the thread for `ms`. */
function work(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}
/** The same whether it was done on the spot or later. */
const run = async <T>(turns: Turns, owner: object, step: () => T | Promise<T>): Promise<T> =>
  turns.run(owner, step);
const A = { name: 'A' };
const B = { name: 'B' };

test('while nobody waits a step is done on the spot, with its result or its error', () => {
  expect(new Turns().run(A, () => 7)).toBe(7);
  const failing = () => {
    throw new Error('no');
  };
  expect(() => new Turns().run(A, failing)).toThrow('no');
});

/** How many steps of a flood of 400 by A had ended when the one step of B had. */
async function stepsBefore(ownerOfB: object): Promise<number> {
  const turns = new Turns();
  let ended = 0;
  const flood = Array.from({ length: 400 }, () =>
    run(turns, A, () => {
      work(0.2);
      ended++;
    }),
  );
  // B asks when the loop has turned, as a request that comes from another socket.
  const before = await new Promise<number>((resolve) => {
    setImmediate(() => {
      const asked = ended;
      void run(turns, ownerOfB, () => work(0.2)).then(() => resolve(ended - asked));
    });
  });
  await Promise.all(flood);
  expect(ended).toBe(400);
  return before;
}

test('a flood of one owner holds up another by a few steps, not by all of them', async () => {
  expect(await stepsBefore(B)).toBeLessThan(15);
  // The check finds what is unfair: one queue for both.
  expect(await stepsBefore(A)).toBeGreaterThan(300);
});

test('steps that wait leave the thread to others, a limited number of one owner at a time', async () => {
  const turns = new Turns();
  let waiting = 0;
  let most = 0;
  const releases: (() => void)[] = [];
  const slow = Array.from({ length: 100 }, () =>
    run(turns, A, async () => {
      most = Math.max(most, ++waiting);
      await new Promise<void>((resolve) => releases.push(resolve));
      waiting--;
    }),
  );
  expect(await run(turns, B, () => 'B')).toBe('B');
  for (let released = 0; released < 100; await new Promise((resolve) => setImmediate(resolve))) {
    for (const release of releases.splice(0, 1)) {
      release();
      released++;
    }
  }
  await Promise.all(slow);
  expect(most).toBe(32);
});

test('a step that fails later fails for whoever asked, and the others go on', async () => {
  const turns = new Turns();
  const results = await Promise.allSettled(
    Array.from({ length: 50 }, (_, i) =>
      run(turns, A, async () => {
        await new Promise((resolve) => setImmediate(resolve));
        if (i % 10 === 3) throw new Error(`step ${i}`);
        return i;
      }),
    ),
  );
  expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(5);
  expect(results[49]).toMatchObject({ value: 49 });
});
