// Every bound of the NBD server. What a client can make us hold is the product of these and nothing else.

/** Largest payload of one READ or WRITE, told to clients; the protocol asks for at least this much. */
export const payloadBytesMax = 32 * 1024 * 1024;

/** Strings of the protocol: export names, descriptions, messages. */
export const stringBytesMax = 4096;

/** Data of one option: a name and a list of information requests fit many times over. */
export const optionBytesMax = 64 * 1024;

/** Options one client may send before it goes on to transmission. */
export const optionsMax = 4096;

/** Requests of one connection not yet answered; beyond it the socket is not read. */
export const inFlightRequestsMax = 256;

/** Bytes of those requests and of replies the client has not taken; beyond it the socket is not read. */
export const inFlightBytesMax = 64 * 1024 * 1024;

/** What a CACHE request reads at most: a hint is not worth more. */
export const cacheHintBytesMax = 4 * 1024 * 1024;

/** Metadata contexts that one connection may ask about. */
export const contextsMax = 16;

/** Extents in the answer to one BLOCK_STATUS request, for each context. */
export const extentsMax = 4096;

/** The same of all connections together. */
export const requestBytesDefault = 1024 * 1024 * 1024;

export const connectionsMaxDefault = 256;

/** Time a client has for the whole negotiation, not counting what it waits for us. */
export const negotiationMsMax = 30_000;

/** After our last byte a client has this long to close before we do. */
export const lingerMsMax = 5_000;

/** How long `close` waits for requests in flight before it drops the connections. */
export const drainMsMax = 30_000;
