/** Names that a person can remember, and passwords that nobody can guess. */

const ADJECTIVES = (
  'ancient autumn billowing bitter bold broad calm cold cool crimson curly damp dawn dry falling flat fragrant frosty ' +
  'gentle green hidden holy icy jolly late lingering little lively long lucky misty morning muddy mute nameless noisy ' +
  'odd old orange patient plain polished proud purple quiet rapid raspy red restless rough round royal shiny shrill shy ' +
  'silent small snowy soft solitary sparkling spring square steep still summer super sweet throbbing tight tiny twilight ' +
  'wandering weathered white wild winter wispy withered yellow young'
).split(' ');
const NOUNS = (
  'bay bird boat breeze brook cloud coast cove creek current darkness dawn dew dream drift dust eddy estuary feather field ' +
  'fire firefly flower foam fog forest frog frost gale glade glitter grass gull harbour haze hill inlet island jetty lagoon ' +
  'lake leaf marsh meadow mist moon morning mountain night paper pebble pine pond pool rain reed reef resonance ripple river ' +
  'sand sea shadow shape shell shoal shore silence sky smoke snow snowflake sound spray star strait stream sun sunset surf ' +
  'swell thunder tide tree violet voice water waterfall wave wildflower wind wood'
).split(' ');

/** Uniform in [0, bound). */
function random(bound: number): number {
  const limit = Math.floor(0x1_0000_0000 / bound) * bound;
  for (;;) {
    const value = crypto.getRandomValues(new Uint32Array(1))[0];
    if (value < limit) return value % bound;
  }
}
const pick = (words: readonly string[]): string => words[random(words.length)];

/** `quiet-tide-12345678` */
export const projectName = (): string =>
  `${pick(ADJECTIVES)}-${pick(NOUNS)}-${10_000_000 + random(90_000_000)}`;
/** `ep-quiet-tide-42` */
export const endpointName = (): string => `ep-${pick(ADJECTIVES)}-${pick(NOUNS)}-${10 + random(9990)}`;
/** `br-quiet-tide-12345678` */
export const branchName = (): string => `br-${projectName()}`;

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
/** 24 letters and digits: 142 bits. */
export const password = (): string =>
  `ebb_${Array.from({ length: 24 }, () => ALPHABET[random(62)]).join('')}`;
