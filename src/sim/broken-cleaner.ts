// What canaries of cleaning put above a volume: a cleaner that copies pages as this one does, but for its rule.

import type { Clock } from "#host";
import { pageBytes } from "#model";
import type { AttachedVolume } from "#volume";

const everyMs = 30;
/** Between reading a page and appending it again. */
const carryMs = 15;

/** Reads one page after another and writes it again, wherever the map points by then [C17]. */
export function cleanerOverwrites(volume: AttachedVolume, clock: Clock): AttachedVolume {
  const pages = volume.info.sizeBytes / pageBytes;
  let page = 0;
  const move = (): void => {
    const at = page * pageBytes;
    page = (page + 1) % pages;
    volume.read(at, pageBytes).then(
      (bytes) =>
        clock.setTimer(carryMs, () => {
          volume.write(at, bytes, false).catch(() => {});
          clock.setTimer(everyMs, move);
        }),
      () => {},
    );
  };
  clock.setTimer(everyMs, move);
  return volume;
}
