// ring: placement as pure functions. Enters: a BlockRef. Leaves: all peers in order of preference.
export type { Ring, RingDescription, RingMember, RingType } from "./ring.ts";
export { failureDomains, ringTypes } from "./ring.ts";
