/** Where the parts of a template lie. */

/** The layer of the template in `directory`. */
export const templateLayerPath = (directory: string): string => `${directory}.layer`;
