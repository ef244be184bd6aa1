/**
 * Reads what PayPal sent, an IPN or a webhook, and says which donations it tells of.
 *
 *     const identified = identifyIpn(body).inLedger("paypal-live");
 *     for (const { donation, message } of identified.pairs) { … } // ask Noted, then process
 *
 * Two pure functions do the work. They ask nobody and verify nothing: verify first (the receiver
 * does), because whoever can have a forged message noted can have the genuine one suppressed. A
 * message may tell of no donation, of one, or of several. Look at the warnings too, and be loud
 * about `unknown`: there PayPal said something that this package does not understand.
 *
 * The rules are written in client/paypal/doc.go, the reference; the cases beside it hold the
 * languages together.
 */
export { identifyIpn } from "./ipn.js";
export { Identified, MalformedError, type Pair } from "./result.js";
export { identifyWebhook } from "./webhook.js";
