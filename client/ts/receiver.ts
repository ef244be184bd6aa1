import type { IncomingMessage, RequestListener } from "node:http";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import { Verdict, type DedupeService, type Note } from "./gen/noted/v1/noted_pb.js";
import { once } from "./once.js";

const maxBody = 256 << 10; // bytes; far more than a provider sends

/** receive answers the notifications of a payment provider. Verify them with the provider first: who can forge one can have a genuine one dropped. */
export function receive(noted: Client<typeof DedupeService>, process: (note: Note) => Promise<void>): RequestListener {
  return async (request, response) => {
    try {
      const body = await read(request);
      if (body === undefined) return response.writeHead(413).end();
      const { id, pledge, paidAt, amount, currency } = JSON.parse(body);
      const donation = { ledger: "pledges", seriesId: pledge, occurredAt: timestampFromDate(new Date(paidAt)), amount, currencyCode: currency };
      const verdict = await once(noted, donation, { channel: "api", id }, process);
      response.statusCode = verdict === Verdict.HELD ? 503 : 200;
    } catch (error) {
      console.error("not processed:", error); // nothing is known of the donation: it must come again
      response.statusCode = 503;
    }
    response.end();
  };
}

/** read takes a body, and keeps no more of it than is allowed: of a longer one nothing. */
async function read(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request) {
    if ((size += chunk.length) <= maxBody) chunks.push(chunk);
  }
  return size <= maxBody ? Buffer.concat(chunks).toString() : undefined;
}
