// From a description to the ring it describes: the only place that knows all kinds of rings.

import { unreachable } from "#model";
import { decodeRingDescription } from "./description.ts";
import { EmptyRing } from "./empty.ts";
import { KetamaRing } from "./ketama.ts";
import { ModRing } from "./mod.ts";
import { RendezvousRing } from "./rendezvous.ts";
import type { Ring, RingDescription } from "./ring.ts";
import { SingleRing } from "./single.ts";
import { UnionRing } from "./union.ts";

/** Throws `invalid-argument` naming the field when `description` is not one that all versions would read alike. */
export function createRing(description: RingDescription): Ring {
  return create(decodeRingDescription(description));
}

function create(description: RingDescription): Ring {
  switch (description.type) {
    case "empty":
      return new EmptyRing(description);
    case "single":
      return new SingleRing(description);
    case "mod":
      return new ModRing(description);
    case "ketama":
      return new KetamaRing(description);
    case "rendezvous":
      return new RendezvousRing(description);
    case "union": {
      const { old, new: next } = description.parts!;
      return new UnionRing(description, { old: create(old), new: create(next) });
    }
    default:
      return unreachable(description.type);
  }
}
