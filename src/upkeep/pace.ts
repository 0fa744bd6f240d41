// Pace: how often a peer may look at what the whole cluster agrees on. Everything that is read grows with the cluster, and so does the number of
// those who read it; so the time between two looks grows with both, and all of them together never ask more of the metadata service than it can
// give. Small clusters do not notice: there the shortest time that was asked for rules.

/** What all peers' looks of one kind may read together. */
const readBytesPerSecondMax = 16 * 2 ** 20;

/**
 * Of the peers that serve, by id, so many look at everybody each time; the others are there for when these are gone, and look as rarely as their number
 * asks for.
 */
export const watchersMax = 3;

/** From one look to the next, when each of `readers` reads `bytes` in one; never less than `everyMs`. */
export function pacedMs(everyMs: number, { readers, bytes }: { readers: number; bytes: number }): number {
  return Math.max(everyMs, Math.ceil((readers * bytes * 1000) / readBytesPerSecondMax));
}
