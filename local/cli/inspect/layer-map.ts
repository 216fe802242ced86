/**
 * The layer map drawn: keys from left to right, LSNs upwards. Both axes show order and not distance (a place for each bound that
 * some layer has), since the keys of a database are few and far between.
 *
 *   0/3A00028 ────────────────────      ░ level-0 delta   ▒ level-1 delta   ═ image
 *             ░░░░░░░░░░░░░░░░░░░░
 *   0/3800000 ═══════─────────────
 */
import { formatLsn, parseLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { formatKey, keyHex, type Key } from '../../../lib/storage/key.ts';
import {
  formatLayer,
  isLevel0,
  parseLayerName,
  type LayerDescriptor,
} from '../../../lib/storage/layers/descriptor.ts';
import { keyAfter } from '../../../lib/storage/layers/layer-map.ts';

export interface DrawnLayer {
  name: string;
  size: number;
  isLocal: boolean;
}
/** What `GET /inspect/timelines/{id}/layers` says, as far as it is drawn. */
export interface DrawnTimeline {
  layers: DrawnLayer[];
  horizonLsn?: string;
  retainedLsns?: string[];
  lastRecordLsn?: string;
}

interface Placed extends DrawnLayer {
  descriptor: LayerDescriptor;
  /** Columns [left, right), rows [bottom, top]; an image has one row. */
  left: number;
  right: number;
  bottom: number;
  top: number;
}
interface Drawing {
  layers: Placed[];
  columns: (Key | null)[];
  lsns: Lsn[];
}

function place(timeline: DrawnTimeline): Drawing {
  const found = timeline.layers.flatMap((layer) => {
    const descriptor = parseLayerName(layer.name);
    return descriptor === null ? [] : [{ ...layer, descriptor }];
  });
  const cuts = new Set<Key>();
  const lsns = new Set<Lsn>();
  for (const { descriptor } of found) {
    if (!isLevel0(descriptor)) {
      cuts.add(descriptor.keys.first);
      const after = keyAfter(descriptor.keys.last);
      if (after !== null) cuts.add(after);
    }
    if (descriptor.kind === 'image') lsns.add(descriptor.lsn);
    else lsns.add(descriptor.startLsn).add(descriptor.endLsn);
  }
  const columns: (Key | null)[] = [...cuts].sort();
  const rows = [...lsns].sort((a, b) => a - b);
  if (columns.length === 0) columns.push('\0'.repeat(18) as Key);
  columns.push(null);
  const columnOf = (key: Key): number => Math.max(0, columns.indexOf(key));
  const layers = found.map((layer): Placed => {
    const { descriptor } = layer;
    const after = keyAfter(descriptor.keys.last);
    const isWide = isLevel0(descriptor);
    return {
      ...layer,
      left: isWide ? 0 : columnOf(descriptor.keys.first),
      right: isWide || after === null ? columns.length - 1 : columnOf(after),
      bottom: rows.indexOf(descriptor.kind === 'image' ? descriptor.lsn : descriptor.startLsn),
      top: rows.indexOf(descriptor.kind === 'image' ? descriptor.lsn : descriptor.endLsn),
    };
  });
  return { layers, columns, lsns: rows };
}

const TEXT_COLUMNS_MAX = 96;

/** For a terminal. */
export function layerMapText(timeline: DrawnTimeline): string {
  const { layers, columns, lsns } = place(timeline);
  const count = columns.length - 1;
  const width = Math.max(1, Math.min(8, Math.floor(TEXT_COLUMNS_MAX / count)));
  const shown = Math.min(count, TEXT_COLUMNS_MAX);
  // More columns than fit: each character stands for several.
  const columnAt = (x: number): number => (shown === count ? x : Math.floor((x * count) / shown));
  const draw = (charOf: (column: number) => string): string =>
    Array.from({ length: shown }, (_, x) => charOf(columnAt(x)).repeat(width)).join('');
  const covers = (layer: Placed, column: number) => layer.left <= column && column < layer.right;
  const lines: string[] = [];
  for (let row = lsns.length - 1; row >= 0; row--) {
    const images = layers.filter(({ descriptor, top }) => descriptor.kind === 'image' && top === row);
    const marks = marksOf(timeline, lsns[row]);
    const line = draw((column) => (images.some((each) => covers(each, column)) ? '═' : '─'));
    lines.push(`${formatLsn(lsns[row]).padStart(12)} ${line}${marks}`);
    if (row === 0) break;
    const deltas = layers.filter(
      ({ descriptor, bottom, top }) => descriptor.kind === 'delta' && bottom < row && row <= top,
    );
    const fill = draw((column) => {
      const over = deltas.filter((each) => covers(each, column));
      return over.length === 0 ? ' ' : over.some(({ descriptor }) => !isLevel0(descriptor)) ? '▒' : '░';
    });
    lines.push(`${' '.repeat(12)} ${fill}`);
  }
  lines.push('', `${' '.repeat(12)} ░ level-0 delta   ▒ level-1 delta   ═ image   keys →`);
  return lines.join('\n');
}

function marksOf(timeline: DrawnTimeline, at: Lsn): string {
  const said: string[] = [];
  if (timeline.horizonLsn !== undefined && parseLsn(timeline.horizonLsn) === at) said.push('horizon');
  if (timeline.retainedLsns?.some((each) => parseLsn(each) === at) === true) said.push('retained');
  return said.length === 0 ? '' : `  ${said.join(', ')}`;
}

const SVG = { left: 130, top: 30, row: 26, column: 26, widthMin: 420, bottom: 50 } as const;
const COLOURS = { level0: '#f2b134', level1: '#5b8def', image: '#2a9d5c' } as const;

const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** A file for a browser; each layer tells what it is under the pointer. */
export function layerMapSvg(timeline: DrawnTimeline): string {
  const { layers, columns, lsns } = place(timeline);
  const count = columns.length - 1;
  const columnWidth = Math.max(SVG.column, SVG.widthMin / count);
  const width = SVG.left + count * columnWidth + 20;
  const height = SVG.top + lsns.length * SVG.row + SVG.bottom;
  const x = (column: number): number => SVG.left + column * columnWidth;
  const y = (row: number): number => SVG.top + (lsns.length - 1 - row) * SVG.row + SVG.row / 2;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="100%" height="100%" fill="white"/>`,
  ];
  for (const [row, at] of lsns.entries())
    parts.push(
      `<text x="${SVG.left - 8}" y="${y(row) + 4}" text-anchor="end" fill="#555">${formatLsn(at)}</text>`,
      `<line x1="${SVG.left}" x2="${x(count)}" y1="${y(row)}" y2="${y(row)}" stroke="#eee"/>`,
    );
  for (const layer of layers) parts.push(svgLayer(layer, { x, y }));
  const horizon = timeline.horizonLsn === undefined ? 0 : parseLsn(timeline.horizonLsn);
  const above = lsns.findIndex((each) => each >= horizon);
  if (horizon > 0 && above >= 0) {
    const at = y(above) + (lsns[above] === horizon ? 0 : SVG.row / 2);
    parts.push(
      `<line x1="${SVG.left}" x2="${x(count)}" y1="${at}" y2="${at}" stroke="#d33" stroke-dasharray="6 3"/>`,
      `<text x="${x(count)}" y="${at - 4}" text-anchor="end" fill="#d33">horizon ${formatLsn(horizon as Lsn)}</text>`,
    );
  }
  const legend = Object.entries(COLOURS).map(
    ([name, colour], i) =>
      `<rect x="${SVG.left + i * 90}" y="${height - 24}" width="12" height="12" fill="${colour}"/>` +
      `<text x="${SVG.left + 17 + i * 90}" y="${height - 14}">${name}</text>`,
  );
  return [...parts, ...legend, '</svg>', ''].join('\n');
}

function svgLayer(
  { descriptor, size, isLocal, left, right, bottom, top }: Placed,
  { x, y }: { x: (column: number) => number; y: (row: number) => number },
): string {
  const isImage = descriptor.kind === 'image';
  const colour = isImage ? COLOURS.image : isLevel0(descriptor) ? COLOURS.level0 : COLOURS.level1;
  const box = isImage
    ? { y: y(top) - 3, height: 6 }
    : { y: y(top) + 3, height: Math.max(4, y(bottom) - y(top) - 6) };
  const title = `${formatLayer(descriptor)}\n${keysOf(descriptor)}\n${size} bytes${isLocal ? ', on disk' : ''}`;
  return (
    `<rect x="${x(left) + 1}" y="${box.y}" width="${x(right) - x(left) - 2}" height="${box.height}" rx="2" ` +
    `fill="${colour}" fill-opacity="${isLocal ? 0.85 : 0.35}" stroke="${colour}">` +
    `<title>${escapeXml(title)}</title></rect>`
  );
}

function keysOf({ keys }: LayerDescriptor): string {
  const said = (key: Key): string => {
    try {
      return formatKey(key);
    } catch (error) {
      if (error instanceof RangeError) return keyHex(key); // a bound need not be a key that there can be
      throw error;
    }
  };
  return `${said(keys.first)} … ${said(keys.last)}`;
}
