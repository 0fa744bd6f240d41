// Files of a Torus cluster: makes one, writes and reads it, keeps a snapshot of it, and deletes it again.
//
//   node examples/files.ts sqlite:$PWD/torus-data/metadata.db

import { connect } from "torus";

const url = process.argv[2] ?? process.env["TORUS_METADATA"];
if (url === undefined)
  throw new Error("say where the metadata is: node examples/files.ts sqlite:PATH, or etcd://HOST:2379");

await using cluster = await connect(url);
{
  await using file = await cluster.openFile("examples/hello", { create: true });
  await file.writeAt(0, Buffer.from("hello, world\n"));
  await file.writeAt(7, Buffer.from("WORLD"));
  await file.sync(); // on the disks of every replica from here on
  console.log(
    `${file.length} bytes: ${Buffer.from(await file.readAt(0, file.length))
      .toString()
      .trim()}`,
  );
  await file.truncate(5);
  console.log(`${file.length} bytes: ${Buffer.from(await file.readAt(0, 100)).toString()}`);
}
for (const { spec, head } of await cluster.listFiles("examples"))
  console.log(`${spec.name} takes ${head?.usedBytes ?? 0} bytes on each replica`);
await cluster.deleteFile("examples/hello");
