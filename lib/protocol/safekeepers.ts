/**
 * Numbers and places of a timeline's safekeepers.
 *
 * A timeline has three places, 1 to 3. Each number is one safekeeper for ever: what takes over the place of number n is
 * n + 3. So a number tells its place, and at any time each place has one present member (while joint: the old one).
 * Host names and URLs name places, or a number behind one; a Durable Object's name has the number.
 */
import { firstConfiguration, type AcceptorNumber, type Configuration } from '../consensus/configuration.ts';
import { SAFEKEEPER_COUNT, type TimelineSpec } from './specs.ts';

export const PLACES: readonly number[] = Array.from({ length: SAFEKEEPER_COUNT }, (_, i) => i + 1);
export const FIRST_SAFEKEEPERS: Configuration = firstConfiguration(PLACES);

export const placeOf = (n: AcceptorNumber): number => ((n - 1) % SAFEKEEPER_COUNT) + 1;
export const successorOf = (n: AcceptorNumber): AcceptorNumber => n + SAFEKEEPER_COUNT;
export const memberAt = ({ members }: Configuration, place: number): AcceptorNumber =>
  members.find((member) => placeOf(member) === place) ?? place;

/** Every number that a place ever had, up to `n`. */
export const lineageOf = (n: AcceptorNumber): AcceptorNumber[] =>
  Array.from({ length: Math.ceil(n / SAFEKEEPER_COUNT) }, (_, i) => placeOf(n) + i * SAFEKEEPER_COUNT);

/** The Durable Object's name. */
export const safekeeperName = (
  { projectId, timelineId }: Pick<TimelineSpec, 'projectId' | 'timelineId'>,
  n: AcceptorNumber,
): string => `${projectId}/${timelineId}/${n}`;
