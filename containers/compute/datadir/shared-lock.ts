/**
 * A mutual exclusion between the threads of this process, in one word of shared memory.
 *
 * 0 free, 1 held, 2 held and somebody may wait (Drepper, "Futexes Are Tricky", mutex 2). Held for a system
 * call or less. Node lets the main thread wait too.
 */
export function lock(words: Int32Array<SharedArrayBuffer>, at: number): void {
  if (Atomics.compareExchange(words, at, 0, 1) === 0) return;
  while (Atomics.exchange(words, at, 2) !== 0) Atomics.wait(words, at, 2);
}

export function unlock(words: Int32Array<SharedArrayBuffer>, at: number): void {
  if (Atomics.exchange(words, at, 0) === 2) Atomics.notify(words, at, 1);
}
