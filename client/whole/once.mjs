// Times once() and an empty call: once.mjs ADDRESS CALLS. It prints their times in
// seconds, as two lists in JSON.
import { randomUUID } from "node:crypto";
import { connect } from "node:http2";
import { Client, Verdict } from "../ts/dist/index.mjs";

const [address, calls] = [process.argv[2], Number(process.argv[3])];

async function times(call) {
  const taken = [];
  for (let i = 0; i < calls; i++) {
    const began = performance.now();
    await call();
    taken.push((performance.now() - began) / 1000);
  }
  return taken;
}

const session = connect(`http://${address}`);
const head = { ":method": "POST", ":path": "/grpc.health.v1.Health/Check", "content-type": "application/grpc", te: "trailers" };
const empty = () =>
  new Promise((resolve, reject) => {
    const stream = session.request(head);
    stream.on("trailers", ({ "grpc-status": status }) => status === "0" || reject(new Error(`gRPC status ${status}`)));
    stream.on("error", reject).on("end", resolve).resume();
    stream.end(Buffer.alloc(5)); // a message of no bytes
  });
const client = new Client(address);
async function once() {
  const verdict = await client.once({ seriesId: randomUUID(), ledger: "figures" }, undefined, async () => {});
  if (verdict !== Verdict.FIRST) throw new Error("not FIRST");
}
console.log(JSON.stringify([await times(empty), await times(once)]));
session.close();
client.close?.();
