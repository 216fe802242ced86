import { expect, test } from 'vitest';
import { WaitingRoom } from '../../../workers/proxy/waiting-room.ts';

test('holds so many and no more, and gives a place back once', () => {
  const room = new WaitingRoom();
  const leave = room.enter(2);
  room.enter(2);
  expect(() => room.enter(2)).toThrow(expect.objectContaining({ code: 'tooManyConnections' }) as Error);
  leave();
  leave();
  expect(room.waiting).toBe(1);
  room.enter(2);
  expect(() => room.enter(2)).toThrow();
});
