// notes: against a real server, and over connections that break.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { Client, type Donation, type NoteRequest, type NoteResult } from "../src/index.mjs";
import { Verdict } from "../src/gen/noted/v1/noted_pb.js";
import { all, Proxy, startNoted } from "./noted.mjs";
import { noteOf, serve } from "./stand.mjs";

const { grpc } = await startNoted();
const client = new Client(grpc);

const donation = (more: Partial<Donation> = {}): Donation => ({
  ledger: "test",
  seriesId: `I-${randomUUID()}`,
  ...more,
});

const summary = ({ response, error }: NoteResult) => response?.verdict ?? error?.constructor.name;

test("a stream answers in order, and an error belongs to one request", async () => {
  const known = donation();
  await client.note(known);
  const requests = [
    { donation: donation() },
    { donation: { seriesId: "a b" } },
    { donation: known },
    { donation: donation({ occurredAt: new Date(0) }) },
  ];
  const results = await all(client.notes(requests));
  assert.deepEqual(results.map(summary), ["FIRST", "InvalidRequest", "DUPLICATE", "OccurredTooEarly"]);
  assert.ok(results.every(({ request }) => request.requestId !== undefined));
  assert.deepEqual(await all(client.notes([])), []);
});

test("a broken stream is opened again, and loses and doubles nothing", async () => {
  const proxy = await Proxy.to(grpc);
  const far = new Client(proxy.address);
  const donations = Array.from({ length: 1_000 }, () => donation());
  async function* source(): AsyncGenerator<NoteRequest> {
    for (const [i, donation] of donations.entries()) {
      if (i === 300 || i === 600) {
        proxy.down();
        proxy.up();
      }
      yield { donation };
      await new Promise(setImmediate);
    }
  }
  const results = await all(far.notes(source()));
  assert.deepEqual(new Set(results.map(summary)), new Set(["FIRST"]));
  assert.deepEqual(
    results.map(({ request }) => request.donation.seriesId),
    donations.map(({ seriesId }) => seriesId),
  );
});

test("without a server each request of a stream gets an error, and reading goes on", async () => {
  const results = await all(new Client("127.0.0.1:1").notes([{ donation: donation() }, { donation: donation() }]));
  assert.deepEqual(results.map(summary), ["Unavailable", "Unavailable"]);
});

test("a request that breaks the stream fails alone", async () => {
  const long = donation({ seriesId: "x".repeat(70 << 10) }); // more than the transport sends
  const results = await all(client.notes([{ donation: donation() }, { donation: long }, { donation: donation() }]));
  assert.deepEqual(results.map(summary), ["FIRST", "NotedError", "FIRST"]);
});

test("after a wrong answer the other requests are sent again one by one", async () => {
  const alone: string[] = [];
  const answer = (seriesId: string) => ({ verdict: Verdict.FIRST, note: noteOf(seriesId) });
  const stand = new Client(
    await serve({
      noteDonation: ({ donation }) => {
        alone.push(donation!.seriesId);
        return answer(donation!.seriesId);
      },
      noteDonations: async function* (requests) {
        let late = 0; // each answer is the one to the request before
        for await (const { request } of requests) {
          assert.ok(request !== undefined);
          yield { result: { case: "response" as const, value: answer(late++ < 1 ? "I-0" : `I-${late - 2}`) } };
        }
      },
    }),
  );
  const requests = [0, 1, 2, 3].map((i) => ({ donation: { ledger: "test", seriesId: `I-${i}` } }));
  const results = await all(stand.notes(requests));
  assert.deepEqual(results.map(summary), ["FIRST", "WrongAnswer", "FIRST", "FIRST"]);
  assert.deepEqual(alone, ["I-2", "I-3"]);
  assert.deepEqual(
    results.map(({ response }) => response?.note.donation.seriesId),
    ["I-0", undefined, "I-2", "I-3"],
  );
});

test("a source that throws, or yields an impossible request, ends the stream after the answers before it", async () => {
  const seen: unknown[] = [];
  const read = async (source: Iterable<NoteRequest>) => {
    for await (const result of client.notes(source)) seen.push(summary(result));
  };
  const breaking = function* () {
    yield { donation: donation() };
    throw new Error("the file ended");
  };
  await assert.rejects(read(breaking()), /the file ended/);
  await assert.rejects(
    read([{ donation: donation() }, { donation: { seriesId: 7 as unknown as string } }]),
    /seriesId has the type number/,
  );
  assert.deepEqual(seen, ["FIRST", "FIRST"]);
});

test("leaving the loop stops reading the source", async () => {
  let read = 0;
  const ended: boolean[] = [];
  const source = function* () {
    try {
      for (;;) {
        read++;
        yield { donation: donation() };
      }
    } finally {
      ended.push(true);
    }
  };
  const results = client.notes(source());
  await results.next();
  await results.return(); // as break does it
  const before = read;
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(ended.length === 1 && read <= before + 1 && read <= 258, `${read} read`);
});
