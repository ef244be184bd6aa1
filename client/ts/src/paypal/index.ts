/**
 * Reads a message of PayPal's, an IPN or a webhook, and says which donations it tells of.
 *
 *     const identified = identifyIpn(body).inLedger("paypal-live");
 *     for (const { donation, message } of identified.pairs) { … } // ask Noted, then process
 *
 * Two pure functions do the work. They make no call and verify nothing. Verify the
 * message first, as the receiver does: a forged message that is noted suppresses the
 * genuine one. A message may tell of no donation, of one, or of several. Look at the
 * warnings too, and raise an alarm for `unknown`: this package does not know that type or
 * status.
 *
 * client/paypal/doc.go has the rules. All languages run the cases beside it.
 */
export { identifyIpn } from "./ipn.js";
export { Identified, MalformedError, type Pair } from "./result.js";
export { identifyWebhook } from "./webhook.js";
