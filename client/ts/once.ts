import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { Code, ConnectError, createClient, type Client } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { DedupeService, Verdict, type DonationSchema, type MessageSchema, type Note } from "./gen/noted/v1/noted_pb.js";

/** connectTo makes a client of the server at baseUrl, such as http://127.0.0.1:8080, with the token that its file of callers asks for. */
export const connectTo = (baseUrl: string, token = "") => createClient(DedupeService, createConnectTransport({
  baseUrl, httpVersion: "1.1", defaultTimeoutMs: 3000,
  interceptors: token === "" ? [] : [(next) => (request) => { request.header.set("authorization", `Bearer ${token}`); return next(request); }],
}));

/** once processes a donation if nobody has. HELD and errors mean: not now, answer PayPal 503, it comes again. FIRST and DUPLICATE: answer 200. */
export async function once(
  noted: Client<typeof DedupeService>,
  donation: MessageInitShape<typeof DonationSchema>,
  message: MessageInitShape<typeof MessageSchema>,
  process: (note: Note, lost: AbortSignal) => Promise<void>, // note.donationId is the idempotency key; lost fires when another has taken over
  seconds = 60, // how long others are held off should this process die; while it lives, the hold is extended
): Promise<Verdict> {
  const hold = { seconds: BigInt(seconds) }, requestId = randomUUID(), lost = new AbortController();
  const { verdict, note, receipt } = await again(() => noted.noteDonation({ donation, message, hold, requestId }));
  if (verdict !== Verdict.FIRST) return verdict;
  const extending = setInterval(() => noted.extendHold({ receipt, hold }).catch((error) => {
    if (ConnectError.from(error).code === Code.FailedPrecondition) lost.abort(error);
  }), seconds * 1000 / 3);
  try {
    await process(note!, lost.signal);
  } catch (error) {
    await noted.releaseDonation({ receipt, reason: "processing failed" }).catch(() => {}); // or the hold runs out by itself
    throw error;
  } finally {
    clearInterval(extending);
  }
  await again(() => noted.settleDonation({ receipt }));
  return verdict;
}

/** again repeats a call whose answer got lost, or that came at a bad moment: every call may be repeated, a note under the same request id. */
async function again<T>(call: () => Promise<T>): Promise<T> {
  for (let pause = 100; ; pause *= 3) {
    try {
      return await call();
    } catch (error) {
      const passes = [Code.Unavailable, Code.DeadlineExceeded].includes(ConnectError.from(error).code);
      if (!passes || pause > 1000) throw error;
    }
    await setTimeout(pause);
  }
}
