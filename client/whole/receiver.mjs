// The Node receiver in node:http, as the test of the whole runs it: receiver.mjs PORT. It puts donations into the books.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Client } from "../ts/dist/index.mjs";
import { Identified } from "../ts/dist/paypal/index.mjs";
import { Receiver } from "../ts/dist/receiver/index.mjs";

async function book({ donation, message, donationId, body }) {
  const line = new Identified({ message, pairs: [{ donation, message, nanoseconds: 0 }], type: "", warnings: [] }).lines();
  const response = await fetch(process.env.BOOKS, {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": donationId },
    body: JSON.stringify({ ...JSON.parse(line), body: body.toString() }),
    signal: AbortSignal.timeout(10_000),
  });
  await response.arrayBuffer();
  if (response.status !== 201) throw new Error(`the books answered ${response.status}`);
}

const receiver = new Receiver({
  client: new Client(process.env.NOTED),
  process: book,
  undecided: (_, error) => {
    throw new Error(`there is nothing to be left to a person in this test, and yet: ${error}`);
  },
  ledger: process.env.LEDGER,
  accounts: [process.env.ACCOUNT],
  ipnVerifyUrl: process.env.IPN_VERIFY_URL,
  webhookId: process.env.WEBHOOK_ID,
  certHosts: [process.env.CERT_HOST],
  certRoots: readFileSync(process.env.CERT_ROOTS),
});
createServer(receiver.listener("/paypal")).listen(Number(process.argv[2]), "127.0.0.1");
