/**
 * Who the safekeepers of each timeline are, as rows: the truth about membership (lib/consensus/membership.ts).
 *
 * A timeline without a row has its first three. A row that is joint, or has someone `before` it who may not have heard,
 * is work that goes on until it is done, over restarts (the Project's alarm).
 */
import { needsProposer, startMembership, type MembershipState } from '../../lib/consensus/membership.ts';
import type { AcceptorNumber, Configuration } from '../../lib/consensus/configuration.ts';
import { FIRST_SAFEKEEPERS, memberAt, successorOf } from '../../lib/protocol/safekeepers.ts';
import { applyMembership, membershipRound, type MembershipHost } from './membership-round.ts';
import { Refusal } from './refusal.ts';

export interface MembersOptions {
  sql: SqlStorage;
  configure(
    timelineId: string,
    acceptor: AcceptorNumber,
    configuration: Configuration,
  ): ReturnType<MembershipHost['configure']>;
  retire(timelineId: string, acceptor: AcceptorNumber): Promise<void>;
  /** Brings a proposer to the timeline: wakes a compute of it. */
  propose(timelineId: string): Promise<void>;
}

type Row = { configuration: string; before: string };

export class Members {
  readonly #options: MembersOptions;
  /** What acceptors have told is asked again after a restart. */
  readonly #states = new Map<string, MembershipState>();
  readonly #running = new Map<string, Promise<void>>();

  constructor(options: MembersOptions) {
    this.#options = options;
  }

  configurationOf(timelineId: string): Configuration {
    return this.#state(timelineId).configuration;
  }
  phaseOf(timelineId: string): MembershipState['phase'] {
    return this.#state(timelineId).phase;
  }
  /** Timelines whose members are being changed. */
  changing(): string[] {
    return this.#rows(
      `SELECT timeline_id AS id FROM member WHERE before <> '[]' OR configuration NOT LIKE '%"newMembers":null%'`,
    ).map(({ id }) => id as string);
  }
  forget(timelineId: string): void {
    this.#states.delete(timelineId);
    this.#options.sql.exec('DELETE FROM member WHERE timeline_id = ?', timelineId);
  }

  /** Begins to replace the member at `place`. Throws Refusal `CONFLICT` while another change is going on. */
  replace(timelineId: string, place: number): Configuration {
    const state = this.#state(timelineId);
    if (state.phase !== 'stable') {
      throw new Refusal('CONFLICT', `safekeepers of timeline ${timelineId} are being replaced already`);
    }
    const from = memberAt(state.configuration, place);
    const input = { type: 'replace', from, to: successorOf(from) } as const;
    const output = applyMembership(state, input, this.#host(timelineId));
    this.#states.set(timelineId, output.state);
    return output.state.configuration;
  }

  /** One round for a timeline that is changing; rounds of one timeline do not overlap. */
  advance(timelineId: string): Promise<void> {
    const running = this.#running.get(timelineId);
    if (running !== undefined) return running;
    const round = this.#round(timelineId).finally(() => this.#running.delete(timelineId));
    this.#running.set(timelineId, round);
    return round;
  }
  async #round(timelineId: string): Promise<void> {
    const before = this.#state(timelineId);
    if (before.phase === 'stable') return;
    const state = await membershipRound(before, this.#host(timelineId));
    this.#states.set(timelineId, state);
    if (needsProposer(state)) await this.#options.propose(timelineId);
  }

  #host(timelineId: string): MembershipHost {
    const { configure, retire } = this.#options;
    return {
      configure: (acceptor, configuration) => configure(timelineId, acceptor, configuration),
      retire: (acceptor) => retire(timelineId, acceptor),
      persist: (state) => this.#persist(timelineId, state),
    };
  }
  #persist(timelineId: string, state: MembershipState): void {
    this.#options.sql.exec(
      'INSERT OR REPLACE INTO member(timeline_id, configuration, before) VALUES (?, ?, ?)',
      timelineId,
      JSON.stringify(state.configuration),
      JSON.stringify(state.phase === 'settling' ? state.before : []),
    );
  }
  #state(timelineId: string): MembershipState {
    const known = this.#states.get(timelineId);
    if (known !== undefined) return known;
    const [row] = this.#rows<Row>(
      'SELECT configuration, before FROM member WHERE timeline_id = ?',
      timelineId,
    );
    const state =
      row === undefined
        ? startMembership(FIRST_SAFEKEEPERS)
        : startMembership(JSON.parse(row.configuration) as Configuration, JSON.parse(row.before) as number[]);
    this.#states.set(timelineId, state);
    return state;
  }
  #rows<T extends Record<string, SqlStorageValue>>(query: string, ...values: SqlStorageValue[]): T[] {
    return this.#options.sql.exec<T>(query, ...values).toArray();
  }
}
