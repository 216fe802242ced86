/**
 * A safekeeper is replaced by joint membership while a writer writes: the rounds of the control plane over real
 * safekeepers. Nothing acknowledged is lost, and commits go on all the while.
 */
import { expect, test } from 'vitest';
import { membershipRound, applyMembership } from '../../../durable-objects/project/membership-round.ts';
import { startMembership, type MembershipState } from '../../../lib/consensus/membership.ts';
import { wantsWal } from '../../../lib/consensus/proposer-state.ts';
import { formatLsn, lsn, parseLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { FIRST_SAFEKEEPERS, successorOf } from '../../../lib/protocol/safekeepers.ts';
import { Driver, walBytes } from './driver.ts';
import { SafekeeperEdge } from './edge.ts';
import { Reader, reportAll } from './reader.ts';

const START = lsn(0x3000000);
const MIB = 1 << 20;

/** What the Project does, with its durable row in a variable. */
class ControlPlane {
  state: MembershipState = startMembership(FIRST_SAFEKEEPERS);
  persisted: MembershipState[] = [];
  readonly retired: number[] = [];
  readonly #edge: SafekeeperEdge;
  readonly #host = {
    configure: (n: number, configuration: MembershipState['configuration']) =>
      this.#edge.configure(n, configuration),
    persist: (state: MembershipState) => void this.persisted.push(state),
    retire: async (n: number) => {
      this.retired.push(n);
      await this.#edge.retire(n, this.state.configuration);
    },
  };
  constructor(edge: SafekeeperEdge) {
    this.#edge = edge;
  }
  begin(from: number): void {
    const input = { type: 'replace', from, to: successorOf(from) } as const;
    this.state = applyMembership(this.state, input, this.#host).state;
  }
  async round(): Promise<void> {
    this.state = await membershipRound(this.state, this.#host);
  }
  /** The process dies: what was persisted last is all that is left. */
  restart(): void {
    const last = this.persisted[this.persisted.length - 1];
    this.state = startMembership(last.configuration, last.phase === 'settling' ? last.before : []);
  }
}

/** Appends without a pause until it is stopped; tells how far it was acknowledged. */
class Writer {
  #stopped = false;
  commits = 0;
  readonly done: Promise<void>;
  readonly #driver: Driver;
  constructor(driver: Driver) {
    this.#driver = driver;
    this.done = this.#run();
  }
  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#driver.when(wantsWal);
      const at = this.#driver.state.buffer.endLsn;
      await this.#driver.committed(this.#driver.push(walBytes(at, 2000)));
      this.commits++;
    }
  }
  async stop(): Promise<Lsn> {
    this.#stopped = true;
    await this.done;
    return this.#driver.state.commitLsn;
  }
}

test(
  'its storage is gone: another takes its place while commits go on; then a second and a third',
  { timeout: 180_000 },
  async () => {
    await using edge = await SafekeeperEdge.start({
      SAFEKEEPER_WAL_BYTES_MAX: String(40 * MIB),
      SAFEKEEPER_WAL_KEPT_BYTES: String(MIB),
    });
    const driver = await new Driver(edge, 1).elected();
    // More than is kept locally: the newcomers begin behind what is in object storage.
    await driver.pushMany(20 * MIB, 700_000, walBytes);
    await driver.everywhere();
    const control = new ControlPlane(edge);
    const writer = new Writer(driver);

    for (const [i, lost] of [1, 2, 3].entries()) {
      const fresh = successorOf(lost);
      if (lost === 1) expect((await fetch(edge.url(lost, 'remove'))).status).toBe(204);
      const before = writer.commits;
      control.begin(lost);
      for (let round = 0; control.state.phase !== 'stable'; round++) {
        await control.round();
        if (round === 1) control.restart();
        const seen = writer.commits;
        await driver.when(() => writer.commits > seen || control.state.phase === 'stable');
      }
      expect(writer.commits).toBeGreaterThan(before);
      expect(control.state.configuration).toMatchObject({ generation: 3 + 2 * i, newMembers: null });
      expect(control.state.configuration.members).toContain(fresh);
      expect(control.retired.at(-1)).toBe(lost);
      const now = driver.state.commitLsn;
      await driver.when(
        ({ configuration, acceptors }) =>
          configuration.generation === 3 + 2 * i &&
          acceptors.every(({ flushLsn }) => flushLsn !== null && flushLsn >= now),
      );
    }
    const acknowledged = await writer.stop();
    await driver.everywhere();
    expect(driver.state.configuration.members).toEqual([4, 5, 6]);
    const wanted = walBytes(START, acknowledged - START);
    for (const n of [4, 5, 6]) {
      const status = await edge.status(n);
      expect(status).toMatchObject({ flushLsn: formatLsn(acknowledged), commitLsn: formatLsn(acknowledged) });
      expect(parseLsn(status.localBeginLsn)).toBeGreaterThan(START);
      const reader = new Reader(edge, n, START, reportAll);
      expect(Buffer.compare(await reader.upTo(acknowledged), wanted), `safekeeper ${n}`).toBe(0);
      reader.socket.close();
    }
    await driver.stop();

    // After a crash of all, the new three have everything.
    await edge.kill();
    await edge.restart();
    const members = control.state.configuration;
    const next = await new Driver(edge, 2, members.members, members).elected();
    expect(next.state.termStartLsn).toBe(acknowledged);
    await next.stop();

    // A proposer that knows only the first three learns the present ones from those who were members after the first
    // replacement; the one whose storage was gone, empty as it is, cannot make a quorum with nobody.
    const stale = new Driver(edge, 3);
    await stale.elected();
    expect(stale.state.configuration.members).toEqual([4, 5, 6]);
    expect(stale.state.termStartLsn).toBe(acknowledged);
    await stale.stop();
  },
);
