/** `ebb safekeeper`: who holds the log of a branch, and replacing one of them while commits go on. */
import { InspectClient, InspectError, type Target } from './inspect/client.ts';
import type { Safekeepers } from '../instance/control-plane.ts';

function describe({ generation, members, new_members: next, changing }: Safekeepers): string {
  const to = next === null ? '' : `, becoming ${next.join(' ')}`;
  return `generation ${generation}: safekeepers ${members.join(' ')}${to}${changing ? ' (under way)' : ''}`;
}

export async function listSafekeepers(target: Target): Promise<void> {
  const client = await InspectClient.open(target);
  console.log(describe(await client.safekeepers()));
}

export async function replaceSafekeeper(place: string, target: Target): Promise<void> {
  if (!/^[123]$/.test(place)) throw new InspectError(`place ${place}: 1, 2 or 3`);
  const client = await InspectClient.open(target);
  console.log(describe(await client.replaceSafekeeper(Number(place))));
}
