import { expect, test } from 'vitest';
import { layerMapSvg, layerMapText } from '../../../../local/cli/inspect/layer-map.ts';
import { lsn } from '../../../../lib/postgres/lsn.ts';
import { ALL_KEYS, relationPageKey } from '../../../../lib/storage/key.ts';
import { layerName, type LayerDescriptor } from '../../../../lib/storage/layers/descriptor.ts';

const page = (block: number) => relationPageKey({ spcOid: 1663, dbOid: 5, relNumber: 16384, fork: 0 }, block);
const low = { first: ALL_KEYS.first, last: page(99) };
const high = { first: page(100), last: ALL_KEYS.last };
const generation = 1;
const layers: LayerDescriptor[] = [
  { kind: 'image', keys: ALL_KEYS, lsn: lsn(0x300_0000), generation },
  {
    kind: 'delta',
    keys: { first: page(0), last: page(99) },
    startLsn: lsn(0x300_0000),
    endLsn: lsn(0x310_0000),
    generation,
  },
  {
    kind: 'delta',
    keys: { first: page(100), last: page(200) },
    startLsn: lsn(0x300_0000),
    endLsn: lsn(0x310_0000),
    generation,
  },
  { kind: 'image', keys: low, lsn: lsn(0x310_0000), generation },
  { kind: 'delta', keys: ALL_KEYS, startLsn: lsn(0x310_0000), endLsn: lsn(0x320_0000), generation },
];
const timeline = {
  layers: layers.map((descriptor) => ({ name: layerName(descriptor), size: 1234, isLocal: true })),
  horizonLsn: '0/3100000',
  retainedLsns: ['0/3000000'],
};

test('as text: keys to the right, LSNs upwards', () => {
  expect(layerMapText(timeline)).toBe(
    [
      '   0/3200000 ────────────────────────────────',
      '             ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░',
      '   0/3100000 ════════════════────────────────  horizon',
      '                     ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒        ',
      '   0/3000000 ════════════════════════════════  retained',
      '',
      '             ░ level-0 delta   ▒ level-1 delta   ═ image   keys →',
    ].join('\n'),
  );
  expect(high.first > low.last).toBe(true);
});

test('as SVG: a rectangle for each layer, which says what it is, and the horizon', () => {
  const svg = layerMapSvg(timeline);
  expect(svg.match(/<title>/g)).toHaveLength(layers.length);
  expect(svg).toContain('<title>delta (0/3000000, 0/3100000] keys');
  expect(svg).toContain('relation 1663/5/16384 main block 100 … relation 1663/5/16384 main block 200');
  expect(svg).toContain('horizon 0/3100000');
  expect(svg.match(/<rect/g)!.length).toBe(layers.length + 1 + 3);
});

test('a timeline without layers is drawn too', () => {
  expect(layerMapText({ layers: [] })).toContain('image');
  expect(layerMapSvg({ layers: [] })).toContain('</svg>');
});
