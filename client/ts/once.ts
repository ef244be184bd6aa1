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

const passing = [Code.Unavailable, Code.DeadlineExceeded];
const outwaited = [...passing, Code.ResourceExhausted, Code.Internal, Code.Unknown, Code.Aborted];

/** once processes a donation if nobody has. HELD and errors mean: not now, answer PayPal 503, it comes again. FIRST and DUPLICATE: answer 200. */
export async function once(
  noted: Client<typeof DedupeService>,
  donation: MessageInitShape<typeof DonationSchema>,
  message: MessageInitShape<typeof MessageSchema>,
  process: (note: Note, lost: AbortSignal) => Promise<void>, // note.donationId is the idempotency key; lost fires when another has taken over
  seconds = 60, // how long others are held off should this process die; while it lives, the hold is extended
): Promise<Verdict> {
  if (!(Number.isInteger(seconds) && seconds >= 1 && seconds <= 900)) throw new RangeError(`a hold of ${seconds} s: it must be 1 to 900, and whole`);
  const hold = { seconds: BigInt(seconds) }, requestId = randomUUID(), lost = new AbortController();
  const { verdict, note, receipt } = await again(passing, 2_000, () => noted.noteDonation({ donation, message, hold, requestId }));
  if (verdict === Verdict.DUPLICATE || verdict === Verdict.HELD) return verdict;
  if (verdict !== Verdict.FIRST || receipt === "") throw new Error(`noting ${donation.seriesId}: the server's answer ${verdict} is none that is known here`);
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
  await again(outwaited, 15_000, () => noted.settleDonation({ receipt })); // the work is done: do not give up at the first trouble
  return verdict;
}

/** again repeats a call whose answer got lost, or that came at a bad moment: every call may be repeated, a note under the same request id. */
async function again<T>(codes: Code[], milliseconds: number, call: () => Promise<T>): Promise<T> {
  const end = performance.now() + milliseconds;
  for (let pause = 100; ; pause = Math.min(pause * 2, 2_000)) {
    try {
      return await call();
    } catch (error) {
      if (!codes.includes(ConnectError.from(error).code) || performance.now() + pause > end) throw error;
    }
    await setTimeout(pause * (1 + Math.random()) / 2); // not in step with the others
  }
}
