// model: values every room shares, and the BlockStore seam. Enters: nothing. Leaves: types, codecs of refs,
// errors, limits, checksums.

export { AssertionFailure, assert, unreachable } from "./assert.ts";
export type { BlockLocation, BlockSpot, Locator, NearReads } from "./block-location.ts";
export { bootIdCharsMax, locationEntryBytes, locationPathBytesMax } from "./block-location.ts";
export type { BlockRef, BlockType, Epoch, VolumeId } from "./block-ref.ts";
export {
  blockRefBytes,
  blockRefEquals,
  blockRefKey,
  blockType,
  decodeBlockRef,
  encodeBlockRef,
  volumeIdMax,
} from "./block-ref.ts";
export type {
  AppendPurpose,
  BlockState,
  BlockStatus,
  BlockStore,
  FenceBasis,
  FenceReport,
  ListPage,
  PeerId,
  Progress,
  StoreUsage,
  TakeMemory,
} from "./block-store.ts";
export { formatBytes, parseBytes } from "./bytes.ts";
export { crc32, crc32AppendPage, pagesMatch } from "./checksum.ts";
export type { Confirmation, Confirmer, ConfirmReport, PeerStore, Verdict } from "./confirmation.ts";
export type { Courtesy, UserRequest } from "./courtesy.ts";
export { userRequests } from "./courtesy.ts";
export type { ErrorCode, ErrorDetails } from "./errors.ts";
export { errorCodes, isTorusError, messageOf, TorusError } from "./errors.ts";
export * from "./limits.ts";
export type { MetadataView, StoreWitness, Testimony, VolumeTrace } from "./metadata-witness.ts";
export {
  judgeView,
  metadataBehind,
  metadataBehindSeen,
  metadataBehindServed,
  testifyWhole,
  viewSeenIn,
} from "./metadata-witness.ts";
export type { RecordFrame, VerifiedRecords } from "./record-frame.ts";
export {
  decodeRecordFrame,
  pageEntryBytes,
  rangeEntryBytes,
  recordEntriesOffset,
  recordFlag,
  recordFrameLayout,
  recordHeaderChecksum,
  recordMagic,
  recordVersion,
  requireAllRecords,
  showServed,
  verifyRecords,
} from "./record-frame.ts";
export { RefMap } from "./ref-map.ts";
export { readUint64, writeUint64 } from "./uint64.ts";
