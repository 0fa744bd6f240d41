// Every limit of the project that more than one room must agree on, with its unit last in the name.

/** The unit of the extent map and of checksums. */
export const pageBytes = 4096;

/** Block size: `torusctl init --block-size`. A power of two. */
export const blockBytesMin = 64 * 1024;
export const blockBytesMax = 64 * 1024 * 1024;
export const blockBytesDefault = 4 * 1024 * 1024;

/** Volume sizes: multiples of a page. 8 EiB would not fit a double; 256 TiB is what the map's depth allows. */
export const volumeBytesMin = pageBytes;
export const volumeBytesMax = 2 ** 48;

export const volumeNameCharsMax = 128;

/** Copies of a block. */
export const replicasMax = 16;
export const replicasDefault = 3;

/** Pages of one record: its header page has room for this many entries besides ranges. */
export const recordPagesMax = 256;

/** The largest frame of the peer protocol: a whole block and its envelope. */
export const frameBytesMax = blockBytesMax + 64 * 1024;

/** Values in the metadata service. */
export const metadataValueBytesMax = 1024 * 1024;
export const metadataKeyCharsMax = 512;

/** Open blocks a fence answer may list: a writer checkpoints long before it has this many. */
export const fenceReportBlocksMax = 65_536;

/** Lease of a writer, and how often it is renewed. */
export const leaseTtlMsDefault = 10_000;
