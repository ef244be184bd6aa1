/**
 * Asks Noted whether a donation has been noted already, so that each is processed once.
 *
 *     const noted = new Client("127.0.0.1:50051");
 *     const verdict = await noted.once(donation, message, async (note) => {
 *       await book(note.donationId, donation);
 *     });
 *
 * Most programs need only Client and once(). The comment of once() lists every outcome
 * and the answer to PayPal. `@donation-dedupe/noted/paypal` turns PayPal's messages into
 * donations, `@donation-dedupe/noted/receiver` receives, verifies and answers PayPal's
 * posts.
 *
 * On an error nothing is known of the donation: do not process it, and do not take it for
 * a duplicate. The client makes an UNAVAILABLE call up to four times in all, within its
 * timeout. That can neither double nor lose a donation, because every note has a request
 * id. It repeats no call that failed otherwise, and it never repeats forget().
 */
export { newRequestId } from "./calls.js";
export { Client, type CallOptions } from "./client.js";
export {
  AlreadySettled,
  DeadlineExceeded,
  DurabilityNotReached,
  HoldLost,
  HoldReleased,
  Internal,
  InvalidRequest,
  LedgerDenied,
  NotedError,
  NoteGone,
  NoteNotFound,
  NotSettled,
  OccurredTooEarly,
  OccurredTooLate,
  OutcomeUnknown,
  Overloaded,
  PoolExhausted,
  RateLimited,
  ReceivedTooEarly,
  reasons,
  RequestIdReused,
  SeriesFull,
  SettledByAnother,
  StoreFull,
  StoreUnavailable,
  StoreUnsuitable,
  StoreWentBack,
  Unauthenticated,
  Unavailable,
  Undecidable,
  VerbDenied,
  WrongAnswer,
  type Failure,
  type Violation,
} from "./errors.js";
export { Hold, type Process } from "./hold.js";
export { type ClientOptions } from "./options.js";
export {
  Event,
  Evidence,
  State,
  Verdict,
  type Donation,
  type Existence,
  type ListRequest,
  type Message,
  type Note,
  type NotedDonation,
  type NoteRequest,
  type NoteResponse,
  type NoteResult,
  type Page,
  type Sighting,
} from "./types.js";
