// What `torus up` tells when everything runs: the lines to type next.

import { formatBytes } from "#model";

export interface Guide {
  readonly volume: string;
  readonly sizeBytes: number;
  readonly peers: number;
  readonly replicas: number;
  readonly socket: string;
  readonly port: number;
  readonly dataDirectory: string;
  readonly metadataUrl: string;
  /** Clients of before are cut off, and the volume is served to nobody until a person accepts what they may have lost. */
  readonly isCutOff: boolean;
  readonly tookMs: number;
}

/** The URI of the volume on the Unix socket, as libnbd and QEMU read it. */
export function unixUri(volume: string, socket: string): string {
  return `nbd+unix:///${volume}?socket=${encodeURIComponent(socket).replaceAll("%2F", "/")}`;
}

export function tcpUri(volume: string, port: number): string {
  return `nbd://127.0.0.1:${port}/${volume}`;
}

export function guideText(guide: Guide): string {
  const { volume, socket, port } = guide;
  const unix = `'${unixUri(volume, socket)}'`;
  const tcp = tcpUri(volume, port);
  const copies = `${guide.replicas} ${guide.replicas === 1 ? "copy" : "copies"} of each block on ${guide.peers} ${guide.peers === 1 ? "peer" : "peers"}`;
  return `
Torus is up (${(guide.tookMs / 1000).toFixed(1)} s): volume ${volume}, ${formatBytes(guide.sizeBytes)}, ${copies}.

  ${unix}
  ${tcp}
${guide.isCutOff ? cutOffText(guide) : ""}
Try, in another terminal:
  nbdinfo ${tcp}
  nbdcopy disk.img ${unix}      copy an image in, and out with the two swapped
  qemu-img info ${tcp}
  npm run torusctl -- -C ${guide.metadataUrl} volume list

A file system on it (as root):
  mkdir -p mnt && touch ${volume}.img && nbdfuse ${volume}.img ${unix} &
  mkfs.ext4 ${volume}.img && mount -o loop ${volume}.img mnt
  umount mnt && fusermount3 -u ${volume}.img

Data and logs are in ${guide.dataDirectory}. Ctrl-C stops everything; the next start finds the data.
`;
}

function cutOffText({ volume, metadataUrl }: Guide): string {
  return `
Everything was killed while volume ${volume} was served. What was flushed is there; what clients were answered and did not flush may be
lost, so it is served to nobody yet. When the clients of before have ended, mounts too, type in another terminal:
  npm run torusctl -- -C ${metadataUrl} volume accept-loss ${volume}
`;
}
