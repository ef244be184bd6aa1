// The caller's own headers, which hand a trace on.
import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { once as event } from "node:events";
import { test } from "node:test";
import { Code, type HandlerContext } from "@connectrpc/connect";
import { Client, NotedError } from "../src/index.mjs";
import { Verdict } from "../src/gen/noted/v1/noted_pb.js";
import { all } from "./noted.mjs";
import { noteOf, refuse, serve } from "./stand.mjs";

/** What the server has received as traceparent, of every try. */
let heard: (string | null)[] = [];
let failures = 0;
const hear = ({ requestHeader }: HandlerContext): void => {
  heard.push(requestHeader.get("traceparent"));
  if (failures-- > 0) throw refuse(Code.Unavailable, "STORE_UNAVAILABLE");
};
const first = { verdict: Verdict.FIRST, note: noteOf("I-1"), receipt: "r" };
const address = await serve({
  donationExists: (_, context) => {
    hear(context);
    return {};
  },
  noteDonation: (_, context) => {
    hear(context);
    return first;
  },
  extendHold: (_, context) => {
    hear(context);
    return { note: first.note };
  },
  settleDonation: (_, context) => {
    hear(context);
    return { note: first.note };
  },
  async *noteDonations(requests, context) {
    hear(context);
    for await (const request of requests) {
      if (request.request !== undefined) yield { result: { case: "response" as const, value: first } };
    }
  },
});
const donation = { ledger: "test", seriesId: "I-1" };

/** Makes calls, and returns what the server received. */
async function hearing(make: () => Promise<unknown>, unavailable = 0): Promise<(string | null)[]> {
  [heard, failures] = [[], unavailable];
  await make();
  return heard;
}

test("every try of a call, and every stream, has the headers of its time", async () => {
  let asked = 0;
  const client = new Client(address, { token: "t", headers: () => ({ Traceparent: `t-${++asked}`, baggage: "" }) });
  assert.deepEqual(await hearing(() => client.exists(donation), 2), ["t-1", "t-2", "t-3"]);
  assert.deepEqual(await hearing(() => all(client.notes([{ donation }])), 1), ["t-4", "t-5"]);
  assert.equal(asked, 5);
});

test("the function runs within the caller's asynchronous context, in all calls of once()", async () => {
  const trace = new AsyncLocalStorage<string>();
  const client = new Client(address, { headers: () => ({ traceparent: trace.getStore() ?? "lost" }) });
  const processing = (name: string) =>
    trace.run(name, () =>
      client.once(donation, undefined, () => new Promise((resolve) => setTimeout(resolve, 300)), { holdMs: 300 }),
    );
  const got = await hearing(() => Promise.all([processing("a"), processing("b")]));
  assert.deepEqual([...new Set(got)].sort(), ["a", "b"]);
  assert.ok(got.length >= 6, "each notes, extends and settles");
});

test("a header of the library or of gRPC fails the call, which is not sent", async () => {
  for (const name of [
    "authorization",
    "Content-Type",
    "content-encoding",
    "te",
    "grpc-timeout",
    "grpc-trace-bin",
    "x-anything-bin",
    "user-agent",
    "accept-encoding",
    "connect-timeout-ms",
    "host",
    "connection",
    "transfer-encoding",
    "proxy-authorization",
  ]) {
    const client = new Client(address, { token: "t", headers: () => ({ traceparent: "t", [name]: "x" }) });
    const refused = (error: unknown): boolean =>
      error instanceof NotedError &&
      error.code === "INTERNAL" &&
      error.message.includes(`the headers function gave ${name.toLowerCase()}, which belongs to`);
    const got = await hearing(async () => {
      await assert.rejects(client.exists(donation), refused);
      const [result] = await all(client.notes([{ donation }]));
      assert.ok(refused(result?.error), String(result?.error));
    });
    assert.deepEqual(got, [], name);
  }
});

test("a function that fails costs the call its headers alone, and is told of once", async () => {
  const long = { traceparent: "t", baggage: "x".repeat(8 << 10) };
  const failing: Record<string, () => unknown> = {
    "no tracer": () => {
      throw new Error("no tracer");
    },
    "[object Undefined]": () => undefined,
    "[object Null]": () => null,
    "[object Array]": () => [["traceparent", "t"]],
    "[object Map]": () => new Map([["traceparent", "t"]]),
    "[object Headers]": () => new Headers({ traceparent: "t" }),
    "[object Promise]": () => Promise.reject(new Error("later")),
    'the name "a b"': () => ({ "traceparent": "t", "a b": "x" }),
    'the name ":path"': () => ({ "traceparent": "t", ":path": "x" }),
    "a tracestate that": () => ({ traceparent: "t", tracestate: undefined }),
    "a number that": () => ({ traceparent: "t", number: 1 }),
    "a line that": () => ({ traceparent: "t", line: "a\r\nauthorization: b" }),
    "a name that": () => ({ traceparent: "t", name: "Jos\u00e9" }),
    "more than 8192 bytes": () => long,
  };
  for (const [why, headers] of Object.entries(failing)) {
    const client = new Client(address, { headers: headers as () => Record<string, string> });
    const told: string[] = [];
    const tell = ({ message }: Error): number => told.push(message);
    process.on("warning", tell);
    const got = await hearing(async () => {
      const warned = event(process, "warning", { signal: AbortSignal.timeout(10_000) });
      await client.exists(donation);
      await warned;
      await client.exists(donation);
    });
    process.off("warning", tell);
    assert.deepEqual(got, [null, null], why);
    assert.equal(told.length, 1, why);
    assert.ok(told[0]!.startsWith("noted: ") && told[0]!.includes(why), told[0]);
  }
});

test("headers that are no function are refused", () => {
  const headers = { traceparent: "t" } as never;
  assert.throws(() => new Client(address, { headers }), /^TypeError: headers is no function; give one/);
});
