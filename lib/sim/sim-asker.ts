/**
 * The control plane's question where a timeline's log ends (log-head.ts), as a branch at the head and a waking compute ask it: some
 * answers are lost, or come late; what they amount to is told to all as committed.
 */
import type { LogReach } from '../consensus/log-head.ts';
import { duration, type World } from './world.ts';

/** Answers that take longer are not waited for. */
const PATIENCE_TICKS = 60;
const CALL_TICKS = 40;
/** log-head.ts knows timelines of three safekeepers. */
const MEMBERS = 3;

/** False when there is nothing to ask now. */
export function askForHead(world: World): boolean {
  const { agenda, checker, coordinator, seams } = world;
  const { members } = coordinator.configuration;
  if (coordinator.state.phase !== 'stable' || members.length !== MEMBERS) return false;
  const acknowledgedLsn = checker.committedLsn;
  const reaches: LogReach[] = [];
  let waiting = true;
  const conclude = (): void => {
    if (!waiting) return;
    waiting = false;
    const head = seams.logHead(reaches);
    if (head === null) return;
    checker.headTold(head, acknowledgedLsn);
    const { term, committedLsn } = head;
    world.trace?.(`the head is told to be @${committedLsn - checker.startLsn} in term ${term}`);
    for (const number of members) {
      if (isLost(world)) continue;
      agenda.after(duration(world, CALL_TICKS), () =>
        world.acceptors.get(number)?.learnCommit(term, committedLsn),
      );
    }
  };
  for (const number of members) {
    if (isLost(world)) continue;
    agenda.after(duration(world, CALL_TICKS), () =>
      world.acceptors.get(number)?.reach((reach) => {
        if (isLost(world)) return;
        agenda.after(duration(world, CALL_TICKS), () => {
          reaches.push(reach);
          if (reaches.length === MEMBERS) conclude();
        });
      }),
    );
  }
  agenda.after(PATIENCE_TICKS, conclude);
  return true;
}

const isLost = ({ faulty, options, random }: World): boolean =>
  faulty && options.controlLostOnceIn > 0 && random.once(options.controlLostOnceIn);
