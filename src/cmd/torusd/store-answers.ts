// What a store answers when it is asked about the metadata, or shown it.

import type { DiskStore } from "#storage";
import type { StoreAnswer, StoreQuestion } from "./store-messages.ts";
import { encodeError } from "./store-messages.ts";

/** Never rejects. */
export async function answerStore(question: StoreQuestion, store: DiskStore): Promise<StoreAnswer> {
  const { request } = question;
  try {
    if (question.kind === "observe")
      return { kind: "observed", request, behind: store.observe(question.view, question.proof) };
    return { kind: "testimony", request, testimony: await store.testify(question.after, question.limit) };
  } catch (error) {
    return { kind: "refused", request, error: encodeError(error) };
  }
}
