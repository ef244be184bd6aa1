// The receiver's answers to PayPal, with a real server and a stand-in of PayPal.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { beforeEach, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import * as noted from "../src/index.mjs";
import { Client, type NotedError, type NoteResponse } from "../src/index.mjs";
import { Receiver, type Delivery, type ReceiverOptions, type Told } from "../src/receiver/index.mjs";
import { daysFromNow } from "./authority.mjs";
import { Proxy, startNoted, until } from "./noted.mjs";
import { account, ipn, pacific, PayPal, signed, webhook, webhookId } from "./paypal.mjs";

const { grpc } = await startNoted();
const client = new Client(grpc);
const paypal = await PayPal.start();

/** The user's code that a receiver calls, and its log. */
const books = {
  booked: [] as Delivery[],
  undecided: [] as { told: Told; error: NotedError }[],
  lines: [] as string[],
  trouble: undefined as Error | undefined,
  meanwhile: ((): unknown => undefined) as (delivery: Delivery) => unknown,
  get log(): string {
    return this.lines.join("\n");
  },
};

beforeEach(() => {
  Object.assign(books, { booked: [], undecided: [], lines: [], trouble: undefined, meanwhile: () => undefined });
});

const settings = (more: Partial<ReceiverOptions> = {}): ReceiverOptions => ({
  client,
  process: async (delivery) => {
    await books.meanwhile(delivery);
    if (books.trouble !== undefined) throw books.trouble;
    books.booked.push(delivery);
  },
  undecided: (told, error) => {
    if (books.trouble !== undefined) throw books.trouble;
    books.undecided.push({ told, error });
  },
  ledger: "paypal-live",
  accounts: [account, "S8XGHLYDW9T3S"],
  webhookId,
  ipnVerifyUrl: paypal.ipnUrl,
  certHosts: [paypal.certHost],
  certRoots: paypal.root.pem,
  verifyTimeoutMs: 5_000,
  log: { warn: (text) => books.lines.push(text), error: (text) => books.lines.push(text) },
  ...more,
});
const receiver = new Receiver(settings());
const newSeries = (): string => `I-${randomUUID()}`;

/** The status, followed by the reason if the body has one. */
async function post(
  channel: "ipn" | "webhook",
  body: Uint8Array,
  headers: Record<string, string> = {},
  to = receiver,
): Promise<string> {
  const { status, body: said, headers: back } = await to.receive(channel, headers, body);
  assert.equal(back["Retry-After"], status === 503 ? "30" : undefined);
  return said === "" ? String(status) : `${status} ${(JSON.parse(said) as { reason: string }).reason}`;
}
const postIpn = (series: string, fields = {}, to = receiver): Promise<string> =>
  post("ipn", ipn(series, fields), {}, to);

test("both channels of one donation", async () => {
  const series = newSeries();
  const body = ipn(series);
  assert.equal(await post("ipn", body), "200");
  assert.deepEqual(
    paypal.ipn.posted.at(-1),
    Buffer.concat([Buffer.from("cmd=_notify-validate&"), body]),
    "the very bytes",
  );
  const event = webhook(series);
  assert.equal(await post("webhook", event, signed(await paypal.certificate(), event)), "200");
  assert.equal(await post("ipn", Buffer.concat([body, Buffer.from("&resend=true")])), "200");
  const [delivery, ...others] = books.booked;
  assert.equal(others.length, 0);
  assert.deepEqual(
    [delivery!.donation.seriesId, delivery!.donation.ledger, delivery!.donation.amount],
    [series, "paypal-live", "25.00"],
  );
  assert.deepEqual([delivery!.body, delivery!.type, delivery!.test], [body, "recurring_payment", false]);
  assert.equal(delivery!.donationId, delivery!.note.donationId);
});

test("of twenty deliveries at once one is booked, and the others are held or duplicates", async () => {
  const series = newSeries();
  const event = webhook(series);
  const headers = signed(await paypal.certificate(), event);
  let open = (): void => undefined;
  const closed = new Promise<void>((resolve) => (open = resolve));
  books.meanwhile = () => closed;
  const deliver = () =>
    Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? postIpn(series) : post("webhook", event, headers))));
  const answering = deliver();
  await until(() => books.lines.filter((line) => line.includes("held")).length === 19);
  open();
  assert.deepEqual(new Set(await answering), new Set(["200", "503 held"]));
  assert.deepEqual(new Set(await deliver()), new Set(["200"]));
  assert.equal(books.booked.length, 1);
});

test("a donation whose processing fails is processed again", async () => {
  const series = newSeries();
  books.trouble = new Error("the books are closed");
  assert.equal(await postIpn(series), "503 process");
  assert.match(books.log, /the books are closed/);
  // From the user's code, so it is a failure like any other.
  books.trouble = new noted.NotSettled("of another Noted", "");
  assert.equal(await postIpn(series), "503 process");
  books.trouble = new noted.SeriesFull("of another Noted", "");
  assert.equal(await postIpn(series), "503 process");
  books.trouble = undefined;
  assert.equal(await postIpn(series), "200");
  assert.deepEqual(
    books.booked.map(({ note }) => note.attempt),
    [4],
  );
});

test("a donation that is not settled is processed again on redelivery, under the same id", async () => {
  const series = newSeries();
  const proxy = await Proxy.to(grpc);
  const far = new Receiver(settings({ client: new Client(proxy.address, { settleTimeoutMs: 500, holdMs: 1_000 }) }));
  books.meanwhile = () => {
    proxy.down();
  };
  assert.equal(await postIpn(series, {}, far), "503 noted");
  assert.doesNotMatch(books.log, /by hand/);
  assert.equal(await postIpn(series, {}, far), "503 noted", "Noted cannot be asked");
  books.meanwhile = () => undefined;
  proxy.up();
  await until(async () => (await postIpn(series, {}, far)) === "200"); // once the hold has run out
  assert.equal(await postIpn(series, {}, far), "200");
  assert.equal(books.booked.length, 2);
  assert.equal(new Set(books.booked.map(({ donationId }) => donationId)).size, 1);
});

// PayPal's next try would be a duplicate, or double the donation. So the answer is 200, and
// a person is told.
for (const [meanwhile, status] of [
  ["settled", "200"],
  ["taken over", "503 noted"],
  ["released", "200"],
  ["forgotten", "200"],
] as const) {
  test(`while processing, the note is ${meanwhile}`, async () => {
    const series = newSeries();
    const proxy = await Proxy.to(grpc);
    const donation = { seriesId: series, ledger: "paypal-live" };
    books.meanwhile = async ({ note, hold }) => {
      if (meanwhile === "forgotten") await client.forget(series, note.donationId, "a test", { ledger: "paypal-live" });
      else if (meanwhile === "released") await client.release(hold.receipt);
      else {
        proxy.down();
        let other: NoteResponse | undefined;
        await until(
          async () => (other = await client.note(donation, undefined, { holdMs: 60_000 })).verdict === "FIRST",
        );
        if (meanwhile === "settled") await client.settle(other!.receipt);
        proxy.up();
      }
    };
    const far = new Receiver(settings({ client: new Client(proxy.address, { holdMs: 500 }) }));
    assert.equal(await postIpn(series, {}, far), status);
    assert.equal(/by hand/.test(books.log), status === "200");
    assert.equal(books.booked.length, 1);
  });
}

for (const [days, kind] of [
  [-60, noted.OccurredTooEarly],
  [30, noted.OccurredTooLate],
] as const) {
  test(`a message that Noted cannot decide goes to a person, once: ${kind.name}`, async () => {
    const series = newSeries();
    const fields = { payment_date: pacific(daysFromNow(days)) };
    books.trouble = new Error("nobody is there");
    assert.equal(await postIpn(series, fields), "503 undecided", "it must not vanish");
    books.trouble = undefined;
    assert.deepEqual([await postIpn(series, fields), await postIpn(series, fields)], ["200", "200"]);
    const [{ told, error }] = books.undecided as [{ told: Told; error: NotedError }];
    assert.ok(error instanceof kind);
    assert.deepEqual(
      [told.body, told.donation.seriesId, told.donation.ledger],
      [ipn(series, fields), series, "paypal-live"],
    );
    assert.deepEqual([books.booked.length, books.undecided.length], [0, 1]);
  });
}

test("a message of a full series goes to a person", async () => {
  const small = await startNoted("-series-limit", "2");
  const full = new Receiver(settings({ client: new Client(small.grpc) }));
  const payments = [0, 1, 2].map((i) => ipn("I-1", { txn_id: `T${i}`, mc_gross: `${i}.00` }));
  const answers: string[] = [];
  for (const payment of payments) answers.push(await post("ipn", payment, {}, full));
  assert.deepEqual([answers, books.booked.length], [["200", "200", "200"], 2]);
  assert.ok(books.undecided[0]!.error instanceof noted.SeriesFull);
});

test("a message that names no receiver goes to a person", async () => {
  assert.equal(await postIpn(newSeries(), { receiver_email: "" }), "200");
  assert.deepEqual([books.undecided.map(({ error }) => error.reason), books.booked.length], [["RECEIVER_MISSING"], 0]);
});

test("two donations in one message", async () => {
  const fields = {
    txn_type: "recurring_payment_profile_created",
    initial_payment_txn_id: "T9",
    initial_payment_status: "Completed",
    initial_payment_amount: "5.00",
    currency_code: "EUR",
  };
  const series = newSeries();
  const held = await client.note({ seriesId: series, ledger: "paypal-live", event: "SIGNUP" }, undefined, {
    holdMs: 60_000,
  });
  assert.equal(await postIpn(series, fields), "503 held", "the other one is booked all the same");
  await client.release(held.receipt);
  assert.equal(await postIpn(series, fields), "200");
  assert.deepEqual(
    books.booked.map(({ donation }) => donation.event),
    ["PAYMENT", "SIGNUP"],
  );
});

test("messages that are skipped, and messages of an unknown type", async () => {
  assert.equal(await postIpn(newSeries(), { txn_type: "masspay", receiver_email: "other@example.org" }), "200");
  assert.doesNotMatch(books.log, /it may have been a donation/);
  assert.equal(await postIpn(newSeries(), { txn_type: "never_heard_of" }), "200");
  assert.match(books.log, /it may have been a donation/);
  assert.equal(books.booked.length, 0);
});

for (const [reply, want] of [
  [[200, "INVALID"], "400 invalid"],
  [[200, "<html>VERIFIED</html>"], "503 verifier"],
  [[200, ""], "503 verifier"],
  [[500, "VERIFIED"], "503 verifier"],
  [[302, "/elsewhere"], "503 verifier"],
] as const) {
  test(`an IPN that PayPal answers with ${reply.join(" ")}`, async () => {
    const series = newSeries();
    paypal.ipn.replies.set("/elsewhere", [200, "VERIFIED"]);
    paypal.ipn.replies.set("/ipn", [...reply]);
    try {
      assert.equal(await postIpn(series), want);
    } finally {
      paypal.ipn.replies.set("/ipn", [200, "VERIFIED"]);
    }
    assert.deepEqual([await postIpn(series), books.booked.length], ["200", 1], "nothing had been noted");
  });
}

test("a verifier that is away or too slow", async () => {
  const away = new Receiver(settings({ ipnVerifyUrl: "http://127.0.0.1:1/" }));
  assert.equal(await postIpn(newSeries(), {}, away), "503 verifier");
  assert.match(books.log, /no connection: ECONNREFUSED/);
  paypal.ipn.pauseMs = 1_000;
  const hasty = new Receiver(settings({ verifyTimeoutMs: 100 }));
  assert.equal(await postIpn(newSeries(), {}, hasty), "503 verifier");
  paypal.ipn.pauseMs = 0;
  assert.match(books.log, /did not answer in time/);
});

for (const [fields, want] of [
  [{ receiver_email: "thief@example.org" }, "403 foreign"],
  [{ receiver_email: "thief@example.org", business: account }, "403 foreign"],
  [{ receiver_email: "", business: "thief@example.org" }, "403 foreign"],
  [{ receiver_email: "", business: account.toUpperCase() }, "200"],
  [{ receiver_email: "other@example.org", receiver_id: "S8XGHLYDW9T3S" }, "200"],
] as const) {
  test(`an IPN to the account ${JSON.stringify(fields)}`, async () => {
    assert.equal(await postIpn(newSeries(), fields), want);
    assert.equal(books.booked.length, want === "200" ? 1 : 0);
  });
}

test("sandbox messages go into their own ledger, or are refused", async () => {
  assert.equal(await postIpn(newSeries(), { test_ipn: "1" }), "403 sandbox");
  const taking = new Receiver(settings({ sandboxLedger: "paypal-sandbox" }));
  assert.equal(await postIpn(newSeries(), { test_ipn: "1" }, taking), "200");
  assert.equal(await postIpn(newSeries(), { test_ipn: "0" }, taking), "200");
  assert.deepEqual(
    books.booked.map(({ donation, test }) => [donation.ledger, test]),
    [
      ["paypal-sandbox", true],
      ["paypal-live", false],
    ],
  );
});

test("requests that PayPal would not send are refused before PayPal is asked", async () => {
  const asked = paypal.ipn.asked.length;
  assert.equal(await post("ipn", Buffer.alloc(0)), "400 malformed");
  assert.equal(await post("ipn", ipn("I-1"), { "Content-Type": "application/json" }), "415 content_type");
  assert.equal(await post("ipn", ipn("I-1"), { "content-encoding": "gzip" }), "415 content_type");
  assert.equal(await post("ipn", Buffer.alloc((256 << 10) + 1, "a")), "413 too_large");
  assert.equal(await post("ipn", { txn_type: "cart" } as never), "503 parsed");
  assert.match(books.log, /mount the receiver before express\.json\(\)/);
  assert.equal(await post("webhook", webhook("I-1")), "400 headers");
  assert.equal(paypal.ipn.asked.length, asked);
  assert.equal(await post("ipn", Buffer.from("&")), "400 malformed"); // PayPal verifies it, but it has no fields
  const none = new Receiver(settings({ webhookId: "" }));
  assert.equal(await post("webhook", webhook("I-1"), {}, none), "404 not_found");
});

test("impossible settings are refused by the constructor", () => {
  for (const [more, want] of [
    [{ accounts: account as never }, /accounts is one string/],
    [{ sandboxWebhookId: "X" }, /tests would have no ledger/],
    [{ sandboxLedger: "paypal-live" }, /tests would count as donations/],
    [{ accounts: [" "], webhookId: "" }, /nothing to receive/],
    [{ ipnVerifyUrl: "http://example.org/" }, /must be an https URL/],
    [{ certRoots: "roots.pem" }, /no PEM certificate/],
    [{ webhookVerify: { clientId: "a", clientSecret: "b", url: "http://example.org" } }, /a secret goes there/],
  ] as const) {
    assert.throws(() => new Receiver(settings(more)), want);
  }
});

test("a fault inside the receiver is answered with 503", async () => {
  const broken = new Receiver(settings({ client: { once: () => Promise.reject(new RangeError("a bug")) } as never }));
  assert.equal(await postIpn(newSeries(), {}, broken), "503 internal");
  assert.match(books.log, /a bug/);
});

test("messages over the limit of concurrent ones are answered with 503", async () => {
  let open = (): void => undefined;
  const closed = new Promise<void>((resolve) => (open = resolve));
  books.meanwhile = () => closed;
  const answers = Array.from({ length: 260 }, () => postIpn(newSeries()));
  await setTimeout(0);
  assert.equal(await postIpn(newSeries()), "503 busy");
  open();
  assert.equal((await Promise.all(answers)).filter((answer) => answer === "503 busy").length, 4);
  assert.equal(await postIpn(newSeries()), "200");
});
