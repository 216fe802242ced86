/**
 * What the WAL of Postgres 18 has of its own: the page magic and the built-in resource managers.
 *
 * Source: access/xlog_internal.h (XLOG_PAGE_MAGIC), access/rmgrlist.h (the order is the RmgrId).
 */
import type { WalFacts } from '../wal/facts.ts';
import { changesPages18 } from './page-changes.ts';
import { recordTypes18 } from './record-types.ts';

export const postgres18: WalFacts = {
  major: 18,
  pageMagic: 0xd118,
  resourceManagers: recordTypes18.map(({ name }) => name),
  recordTypes: recordTypes18.map(({ types }) => types),
  changesPages: changesPages18,
};
