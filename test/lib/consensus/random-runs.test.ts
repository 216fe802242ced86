/**
 * Random runs of the world: rival proposers, cut links, crashed acceptors, messages in any interleaving. The
 * world checks safety after every step; at the end the faults stop and a new proposer must be able to commit.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { World } from './world.ts';

interface Op {
  kind:
    | 'deliver'
    | 'announce'
    | 'settleAll'
    | 'settleSome'
    | 'connect'
    | 'disconnect'
    | 'crash'
    | 'wal'
    | 'newProposer'
    | 'kill'
    | 'leave'
    | 'tellHead';
  a: number;
  b: number;
}
const op: fc.Arbitrary<Op> = fc.record({
  kind: fc.oneof(
    { weight: 40, arbitrary: fc.constant('deliver' as const) },
    { weight: 12, arbitrary: fc.constant('settleSome' as const) },
    { weight: 8, arbitrary: fc.constant('settleAll' as const) },
    { weight: 14, arbitrary: fc.constant('connect' as const) },
    { weight: 6, arbitrary: fc.constant('announce' as const) },
    { weight: 4, arbitrary: fc.constant('disconnect' as const) },
    { weight: 3, arbitrary: fc.constant('crash' as const) },
    { weight: 14, arbitrary: fc.constant('wal' as const) },
    { weight: 3, arbitrary: fc.constant('newProposer' as const) },
    { weight: 2, arbitrary: fc.constant('kill' as const) },
    { weight: 1, arbitrary: fc.constant('leave' as const) },
    { weight: 6, arbitrary: fc.constant('tellHead' as const) },
  ),
  a: fc.nat(1000),
  b: fc.nat(1000),
});

function run(ops: readonly Op[], limits: ConstructorParameters<typeof World>[1]): World {
  const world = new World(3, limits);
  let proposers = 1;
  world.propose(1, 1);
  const pick = <T>(values: Iterable<T>, n: number): T | undefined => {
    const all = [...values];
    return all[n % Math.max(all.length, 1)];
  };
  for (const { kind, a, b } of ops) {
    const proposer = pick(world.proposers.keys(), a);
    const link = pick(world.links.values(), a);
    if (kind === 'deliver' && link) world.deliver(link, b % 2 === 0 ? 'acceptor' : 'proposer');
    else if (kind === 'settleSome' && link)
      for (let i = 0; i < b % 20; i++) world.deliver(link, i % 2 ? 'acceptor' : 'proposer');
    else if (kind === 'settleAll') world.settle();
    else if (kind === 'crash') world.crash(1 + (a % 3));
    else if (kind === 'tellHead') world.tellHead([1, 2, 3].filter((n) => b % 4 !== n));
    else if (kind === 'newProposer') world.propose(++proposers, proposers);
    else if (proposer !== undefined) {
      const { state } = world.proposers.get(proposer)!;
      if (kind === 'connect') world.connect(proposer, 1 + (b % 3));
      if (kind === 'disconnect') world.disconnect(proposer, 1 + (b % 3));
      if (kind === 'kill') world.kill(proposer);
      if (kind === 'announce') world.announce(proposer);
      if (kind === 'leave' && state.phase === 'leading') world.leave(proposer);
      if (kind === 'wal' && state.phase === 'leading') {
        world.wal(proposer, b % 3 === 0 ? [-(1 + (b % 50))] : [1 + (b % 30), 1 + (b % 7)]);
      }
    }
  }
  // The faults stop: a fresh proposer reaches everyone and must be able to commit on all three.
  for (const proposer of world.proposers.keys()) world.kill(proposer);
  world.propose(++proposers, proposers);
  for (let round = 0; round < 3; round++) {
    for (const acceptor of world.acceptors.keys()) world.connect(proposers, acceptor);
    world.settle();
  }
  const { state } = world.proposers.get(proposers)!;
  expect(state.phase).toBe('leading');
  world.wal(proposers, [10, 20, 30]);
  world.settle();
  const after = world.proposers.get(proposers)!.state;
  expect(after.commitLsn).toBe(after.buffer.endLsn);
  for (const acceptor of world.acceptors.values()) expect(acceptor.state.log.commitLsn).toBe(after.commitLsn);
  return world;
}

test('nothing committed is lost or changed in random runs, and they end well', () => {
  let committed = 0;
  const small = {
    appendsInFlightMax: 2,
    bytesInFlightMax: 64,
    coalescedBytesMax: 20,
    bufferBytesMax: 40,
    unwrittenBytesMax: 1 << 20,
  };
  fc.assert(
    fc.property(fc.array(op, { minLength: 50, maxLength: 400, size: 'max' }), fc.boolean(), (ops, tight) => {
      committed += run(ops, tight ? small : {}).committed.length;
    }),
    { numRuns: 1500 },
  );
  expect(committed).toBeGreaterThan(100_000);
});
