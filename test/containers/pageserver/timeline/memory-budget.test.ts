import { expect, test } from 'vitest';
import { MemoryBudget } from '../../../../containers/pageserver/timeline/memory-budget.ts';

class Holder {
  openBytes: number;
  frozenBytes = 0;
  frozen = 0;
  constructor(openBytes: number) {
    this.openBytes = openBytes;
  }
  get residentBytes(): number {
    return this.openBytes + this.frozenBytes;
  }
  freeze(): void {
    this.frozen++;
    this.frozenBytes += this.openBytes;
    this.openBytes = 0;
  }
}

test('the largest open layers are frozen beyond half, and ingest waits beyond all of it', async () => {
  const budget = new MemoryBudget(1000);
  const holders = [100, 250, 120].map((bytes) => new Holder(bytes));
  const leave = holders.map((holder) => budget.join(holder));
  budget.look();
  expect(holders.map(({ frozen }) => frozen)).toEqual([0, 0, 0]);
  expect(budget.room()).toBe(null);
  holders[0].openBytes = 140;
  budget.look();
  expect(holders.map(({ frozen }) => frozen)).toEqual([1, 1, 0]);
  expect(budget.room()).toBe(null);
  holders[2].openBytes = 700;
  budget.look();
  expect(holders[2].frozen).toBe(1);
  let goesOn = false;
  const room = budget.room()!.then(() => (goesOn = true));
  budget.look();
  await Promise.resolve();
  expect(goesOn).toBe(false);
  leave[2](); // a timeline that goes makes room too
  await room;
  expect(budget.bytes).toBe(390);
  expect(budget.room()).toBe(null);
});
