/**
 * Takes PayPal's posts, verifies them, asks Noted, and gives each donation to your
 * function once.
 *
 *     const receiver = new Receiver({
 *       client: new Client("127.0.0.1:50051"),
 *       process: (delivery) => book(delivery.donationId, delivery.donation), // throw, and PayPal comes again
 *       undecided: (told, error) => tellAPerson(error, told.body), // Noted cannot decide
 *       ledger: "paypal-live",
 *       accounts: ["donations@example.org"],
 *       webhookId: "8PT597110X687430LKGECATA",
 *     });
 *     createServer(receiver.listener("/paypal")).listen(8081); // or in Express, or in Fastify
 *
 * PayPal then posts to /paypal/ipn and /paypal/webhook. The answers:
 *
 *     200   every donation in the message is settled, a duplicate, skipped, or handed to a person
 *     503   one is held by another, your function has thrown, or PayPal or Noted could not be asked:
 *           PayPal comes again, and what is settled is a duplicate then. Also where one is processed
 *           and Noted could not be told so: your function is then called again, with the same
 *           donationId
 *     4xx   malformed, not verified, or not ours; nothing was noted. PayPal comes again too, so a
 *           mistake in the settings loses nothing for days
 *
 * If another attempt has settled a donation meanwhile, or an operator has released or
 * forgotten it, the answer is 200 and the log has an error: compare it by hand.
 *
 * No unverified message reaches Noted, or a forger could suppress a donation by telling
 * of it first.
 */
export { type WebhookApiOptions } from "./api.js";
export { type Middleware } from "./node.js";
export { type Answer, type Channel, type Headers, type ReceiverOptions } from "./options.js";
export { Receiver } from "./receiver.js";
export { type Delivery, type Log, type Told } from "./work.js";
