/**
 * Stories of the consensus as text: commands and everything that followed from them, in transcripts/*.txt.
 *
 *   > propose p1 term=2          a proposer process starts
 *   > connect p1 a1 a2 …         connects it (a dash before an acceptor cuts the connection: -a1)
 *   > settle [p1-a1 …]           delivers everything, on these links only, until nothing is left
 *   > deliver p1-a1 [p1<a1]      delivers one message: to the acceptor (-), to the proposer (<)
 *   > wal p1 100 200 +50         WAL from Postgres: records of 100 and 200 bytes, and 50 bytes of a record that is not whole
 *   > room a1 300                the acceptor's storage takes 300 bytes in all
 *   > join a4                    another acceptor, empty
 *   > configure a1 2 1,2,3 2,3,4 the control plane's configuration 2: members, and who is to take over
 *   > backup a1 300              300 bytes are in object storage, a1 hears
 *   > trim a1 300              the acceptor has its first 300 bytes nowhere any more
 *   > leave p1   > kill p1   > crash a1   > show
 *
 * EBB_TRANSCRIPTS=write writes what happens now into the files, for a person to read and approve.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { at } from '../../../lib/sim/world.ts';
import { showAcceptor, World } from './transcript-world.ts';

const folder = fileURLToPath(new URL('transcripts/', import.meta.url));

function linkOf(world: World, text: string) {
  const match = /^p(\d+)([-<])a(\d+)$/.exec(text);
  const link = match && world.linkOf(Number(match[1]), Number(match[3]));
  if (!link) throw new Error(`no link ${text}`);
  return { link, to: match[2] === '<' ? ('proposer' as const) : ('acceptor' as const) };
}
const number = (name: string): number => Number(/^[pa](\d+)$/.exec(name)?.[1]);

function run(world: World, line: string): void {
  const [command, first, ...rest] = line.split(' ');
  switch (command) {
    case 'propose':
      return world.propose(number(first), Number(/^term=(\d+)$/.exec(rest[0])?.[1]));
    case 'connect':
      for (const name of rest) {
        if (name.startsWith('-')) world.disconnect(number(first), number(name.slice(1)));
        else world.connect(number(first), number(name));
      }
      return;
    case 'settle': {
      const chosen = [first, ...rest]
        .filter((text) => text !== undefined)
        .map((text) => linkOf(world, text).link);
      return world.settle((link) => chosen.length === 0 || chosen.includes(link));
    }
    case 'deliver':
      for (const text of [first, ...rest]) {
        const { link, to } = linkOf(world, text);
        if (!world.deliver(link, to)) throw new Error(`nothing to deliver on ${text}`);
      }
      return;
    case 'wal':
      return world.wal(
        number(first),
        rest.map((length) => (length.startsWith('+') ? -Number(length) : Number(length))),
      );
    case 'room':
      return world.room(number(first), Number(rest[0]));
    case 'join':
      return world.join(number(first));
    case 'configure': {
      const [generation, members, newMembers] = rest;
      const list = (text: string): number[] => text.split(',').map(Number);
      return world.configure(number(first), {
        generation: Number(generation),
        members: list(members),
        newMembers: newMembers === undefined ? null : list(newMembers),
      });
    }
    case 'backup':
      return world.backedUp(number(first), Number(rest[0]));
    case 'trim':
      return world.trim(number(first), Number(rest[0]));
    case 'leave':
      return world.leave(number(first));
    case 'kill':
      return world.kill(number(first));
    case 'crash':
      return world.crash(number(first));
    case 'show':
      for (const [n, { state }] of world.proposers) {
        world.log.push(`p${n} ${state.phase} commit=${at(state.commitLsn)} end=${at(state.buffer.endLsn)}`);
      }
      for (const [n, acceptor] of world.acceptors) world.log.push(showAcceptor(n, acceptor));
      return;
    default:
      throw new Error(`no command ${command}`);
  }
}

/** The file as it would be: comments and commands as they are, with what follows from each. */
function replay(text: string): string {
  const limits = /^# limits (.*)$/m.exec(text)?.[1];
  const world = new World(3, limits === undefined ? {} : (JSON.parse(limits) as object));
  const out: string[] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('#') || line === '') out.push(line);
    if (!line.startsWith('> ')) continue;
    out.push(line);
    const before = world.log.length;
    run(world, line.slice(2));
    for (const entry of world.log.slice(before)) out.push(`  ${entry}`);
  }
  return `${out.join('\n').trimEnd()}\n`;
}

for (const file of readdirSync(folder)) {
  test(file.replace(/\.txt$/, '').replaceAll('-', ' '), () => {
    const text = readFileSync(folder + file, 'utf8');
    const replayed = replay(text);
    if (process.env['EBB_TRANSCRIPTS'] === 'write') writeFileSync(folder + file, replayed);
    else expect(replayed).toBe(text);
  });
}
