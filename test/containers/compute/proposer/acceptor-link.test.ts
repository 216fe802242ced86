/** One acceptor's connection over a fake socket and clock: when silence counts as death. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { AcceptorLink, type AcceptorSocket } from '../../../../containers/compute/proposer/acceptor-link.ts';

class FakeSocket implements AcceptorSocket {
  binaryType = '';
  sent = 0;
  closed = false;
  readonly #listeners = new Map<string, ((event: never) => void)[]>();

  addEventListener(type: string, listener: (event: never) => void): void {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }
  emit(type: string, event: object = {}): void {
    for (const listener of this.#listeners.get(type) ?? []) listener(event as never);
  }
  send(): void {
    this.sent++;
  }
  close(): void {
    this.closed = true;
  }
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function connect(owed: () => boolean) {
  const sockets: FakeSocket[] = [];
  const link: AcceptorLink = new AcceptorLink({
    connect: () => {
      sockets.push(new FakeSocket());
      return sockets.at(-1)!;
    },
    onOpen: () => undefined,
    onMessage: () => link.send(new Uint8Array(1)),
    onClose: () => undefined,
    expectsAnswer: owed,
  });
  sockets[0].emit('open');
  return { link, sockets };
}

test('an acceptor that answers is kept, however long something is always on its way to it', () => {
  const { link, sockets } = connect(() => true);
  link.send(new Uint8Array(1));
  for (let i = 0; i < 600; i++) {
    vi.advanceTimersByTime(50);
    sockets[0].emit('message', { data: new ArrayBuffer(1) });
  }
  expect(sockets).toHaveLength(1);
  expect(sockets[0]).toMatchObject({ closed: false, sent: 601 });
  expect(vi.getTimerCount()).toBe(1);
});

test('one that owes an answer for ten seconds is connected anew; one that owes nothing is kept', () => {
  let owed = true;
  const { link, sockets } = connect(() => owed);
  link.send(new Uint8Array(1));
  vi.advanceTimersByTime(9_999);
  expect(sockets[0].closed).toBe(false);
  vi.advanceTimersByTime(200);
  expect(sockets[0].closed).toBe(true);
  expect(link.lastFailure).toBe('no answer within 10000 ms');
  expect(sockets).toHaveLength(2);
  sockets[1].emit('open');
  owed = false;
  link.send(new Uint8Array(1));
  vi.advanceTimersByTime(60_000);
  expect(sockets[1].closed).toBe(false);
});
