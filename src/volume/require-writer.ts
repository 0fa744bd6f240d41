// requireWriter: whether a volume is still this attachment's, asked of the metadata service when a block is gone that its head should
// need. Blocks of a head go only when another writer has committed a newer one, so whoever misses one was replaced,
// or has met damage: the two must not be told as one.

import type { Clock } from "#host";
import { sleep } from "#host";
import type { VolumeWriters, WriterAttachment } from "#metadata";
import { isTorusError, messageOf, TorusError } from "#model";

export interface RequireWriterDeps {
  readonly writers: VolumeWriters;
  readonly attachment: WriterAttachment;
  readonly isOver: () => boolean;
  readonly onLost: (error: TorusError) => void;
  readonly clock: Clock;
}

const retryMs = 1000;

/** Resolves when it is, waiting for the metadata service as long as it takes. Rejects with `attachment-lost`, after `onLost`. */
export async function requireWriter(deps: RequireWriterDeps): Promise<void> {
  const { writers, attachment, isOver, onLost, clock } = deps;
  while (!isOver()) {
    try {
      await writers.loadAttached(attachment);
      return;
    } catch (error) {
      if (isTorusError(error, "unavailable", "timeout")) {
        await sleep(clock, retryMs);
        continue;
      }
      const lost = new TorusError("attachment-lost", messageOf(error), {}, { cause: error });
      onLost(lost);
      throw lost;
    }
  }
  throw new TorusError("attachment-lost", `the attachment of volume "${attachment.name}" is over`);
}
