/**
 * The LZW of Go's `compress/lzw`, as memberlist uses it: codes of 9 to 12 bits, the lowest bit first, literals of 8 bits. The first code is
 * a clear; when the table is full the writer clears it, and until then a reader leaves it as it is.
 */
export const LZW_CLEAR = 256;
export const LZW_END = 257;
export const LZW_MIN_BITS = 9;
export const LZW_MAX_BITS = 12;
/** Codes that there are: the last one that can be given to a sequence is one less. */
export const LZW_CODES = 2 ** LZW_MAX_BITS;
