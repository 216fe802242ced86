/**
 * One round of a change of members: tells everyone who has not heard, takes what they answer into the pure step
 * (lib/consensus/membership.ts), and makes durable what it decides before anyone hears of it.
 */
import {
  membershipTells,
  stepMembership,
  type MembershipInput,
  type MembershipState,
} from '../../lib/consensus/membership.ts';
import type { AcceptorStatus } from '../../lib/consensus/acceptor-state.ts';
import type { AcceptorNumber, Configuration } from '../../lib/consensus/configuration.ts';

export interface MembershipHost {
  /** Tells `acceptor`; null where it has no log yet. May throw: it is asked again. */
  configure(acceptor: AcceptorNumber, configuration: Configuration): Promise<AcceptorStatus | null>;
  persist(state: MembershipState): void;
  /** It is a member no more. May throw: it costs storage, nothing else. */
  retire(acceptor: AcceptorNumber): Promise<void>;
}

export function applyMembership(
  state: MembershipState,
  input: MembershipInput,
  host: Pick<MembershipHost, 'persist'>,
): { state: MembershipState; retire: readonly AcceptorNumber[] } {
  const output = stepMembership(state, input);
  if (output.persist) host.persist(output.state);
  return output;
}

export async function membershipRound(
  state: MembershipState,
  host: MembershipHost,
): Promise<MembershipState> {
  const { configuration } = state;
  const asked = membershipTells(state).map(async (acceptor) => ({
    acceptor,
    status: await host.configure(acceptor, configuration),
  }));
  let next = state;
  for (const answer of await Promise.allSettled(asked)) {
    if (answer.status === 'rejected' || answer.value.status === null) continue;
    const { acceptor, status } = answer.value;
    const output = applyMembership(next, { type: 'status', acceptor, status }, host);
    next = output.state;
    await Promise.allSettled(output.retire.map((retired) => host.retire(retired)));
    // What was asked was asked of the state before.
    if (next.configuration !== configuration) break;
  }
  return next;
}
