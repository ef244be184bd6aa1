import type { RequestListener } from "node:http";
import { text } from "node:stream/consumers";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Client } from "@connectrpc/connect";
import { Verdict, type DedupeService, type Note } from "./gen/noted/v1/noted_pb.js";
import { once } from "./once.js";

/** receive answers the notifications of a payment provider. Verify them with the provider first: who can forge one can have a genuine one dropped. */
export function receive(noted: Client<typeof DedupeService>, process: (note: Note) => Promise<void>): RequestListener {
  return async (request, response) => {
    try {
      const { id, pledge, paidAt, amount, currency } = JSON.parse(await text(request));
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
