/**
 * Rebuilding a page from its own items: what redo of splits and deduplication does.
 *
 * Source: PageGetTempPageCopySpecial and PageRestoreTempPage in storage/page/bufpage.c.
 */
import { checkPagePointers, initPage, PAGE_BYTES, pageOver, pageSpecial, type Page } from './page.ts';

const aside = pageOver(new Uint8Array(PAGE_BYTES));

/**
 * Makes `page` an empty one with the special space it had, and returns what it was: a copy that is valid until the next
 * call. Throws PageError.
 */
export function restartPage(page: Page): Page {
  checkPagePointers(page);
  const special = pageSpecial(page);
  aside.bytes.set(page.bytes);
  initPage(page, PAGE_BYTES - special);
  page.bytes.set(aside.bytes.subarray(special), special);
  return aside;
}
