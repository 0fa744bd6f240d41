// ring: placement as pure functions. Enters: a BlockRef. Leaves: all peers in order of preference.

export { addMembers, makeUnion, removeMembers, setReplicas, settleUnion, withType } from "./changes.ts";
export { createRing } from "./create-ring.ts";
export { decodeRingDescription, plainRing, ringMembersMax } from "./description.ts";
export type { LogPlacement, LogRow, Strike } from "./ensemble.ts";
export { ensemble, isStruck, rowOf } from "./ensemble.ts";
export type { Movement, PeerMovement } from "./movement.ts";
export { movement, sampleRefs } from "./movement.ts";
export type { Ring, RingDescription, RingMember, RingType } from "./ring.ts";
export { failureDomains, ringTypes } from "./ring.ts";
