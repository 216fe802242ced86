/**
 * Postgres's text to JSON, for those who do not ask for raw text: booleans, small integers, floats, json and arrays of
 * them become what they are in JSON; everything else (int8 and numeric, which JSON's readers would round, dates …)
 * stays text. So does an array of a type that a user made.
 */

type ToJson = (text: string) => string;

const quote: ToJson = (text) => JSON.stringify(text);
/** NaN and infinities have no JSON number. */
const float: ToJson = (text) => (Number.isFinite(Number(text)) ? String(Number(text)) : quote(text));
const asIs: ToJson = (text) => text;

/** By type oid (catalog/pg_type.dat). */
const SCALARS: ReadonlyMap<number, ToJson> = new Map([
  [16, (text) => (text === 't' ? 'true' : 'false')], // bool
  [21, asIs], // int2
  [23, asIs], // int4
  [700, float], // float4
  [701, float], // float8
  [114, asIs], // json
  [3802, asIs], // jsonb
]);
/** Array types of the above, and their elements. */
const ARRAYS: ReadonlyMap<number, number> = new Map([
  [1000, 16],
  [1005, 21],
  [1007, 23],
  [1021, 700],
  [1022, 701],
  [199, 114],
  [3807, 3802],
]);
/** All other built-in array types. */
const TEXT_ARRAYS: ReadonlySet<number> = new Set([
  143, 210, 270, 271, 272, 273, 629, 651, 719, 775, 791, 1001, 1002, 1003, 1006, 1008, 1009, 1010, 1011, 1012,
  1013, 1014, 1015, 1016, 1017, 1018, 1019, 1020, 1027, 1028, 1034, 1040, 1041, 1115, 1182, 1183, 1185, 1187,
  1231, 1263, 1270, 1561, 1563, 2201, 2207, 2208, 2209, 2210, 2211, 2949, 2951, 3221, 3643, 3644, 3645, 3735,
  3770, 3905, 3907, 3909, 3911, 3913, 3927, 4073, 4090, 4097, 4192, 5039, 6150, 6151, 6152, 6153, 6155, 6157,
]);
const BOX_ARRAY = 1020;

/** How values of type `oid` become JSON. */
export function jsonOfType(oid: number): ToJson {
  const element = ARRAYS.get(oid);
  if (element !== undefined) {
    const toJson = SCALARS.get(element) ?? quote;
    return (text) => arrayToJson(text, ',', toJson);
  }
  if (TEXT_ARRAYS.has(oid)) return (text) => arrayToJson(text, oid === BOX_ARRAY ? ';' : ',', quote);
  return SCALARS.get(oid) ?? quote;
}

/** What Postgres sent as an array is none. */
export class ArrayTextError extends Error {
  override readonly name = 'ArrayTextError';
}

/** array_out's text, such as `[0:1]={1,NULL}` or `{"a\"b",{…}}`. Bounds have no place in JSON. Throws ArrayTextError. */
export function arrayToJson(text: string, delimiter: string, element: ToJson): string {
  let at = text.startsWith('[') ? text.indexOf('=') + 1 : 0;
  const broken = (): ArrayTextError => new ArrayTextError(`not an array at ${at}: ${text.slice(0, 100)}`);

  const readQuoted = (): string => {
    let value = '';
    for (at++; text[at] !== '"'; at++) {
      if (text[at] === '\\') at++;
      if (at >= text.length) throw broken();
      value += text[at];
    }
    at++;
    return value;
  };
  const readBare = (): string => {
    const start = at;
    while (at < text.length && text[at] !== delimiter && text[at] !== '}') at++;
    return text.slice(start, at);
  };
  const readItem = (): string => {
    if (text[at] === '{') return readArray();
    if (text[at] === '"') return element(readQuoted());
    const bare = readBare();
    return bare === 'NULL' ? 'null' : element(bare);
  };
  const readArray = (): string => {
    if (text[at] !== '{') throw broken();
    at++;
    const items: string[] = [];
    if (text[at] === '}') {
      at++;
      return '[]';
    }
    for (;;) {
      items.push(readItem());
      if (text[at] === '}') break;
      if (text[at] !== delimiter) throw broken();
      at++;
    }
    at++;
    return `[${items.join(',')}]`;
  };
  const json = readArray();
  if (at !== text.length) throw broken();
  return json;
}
