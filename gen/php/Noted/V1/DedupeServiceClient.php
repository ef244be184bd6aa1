<?php
// GENERATED CODE -- DO NOT EDIT!

// Original file comments:
// Package noted.v1 answers one question for everyone who receives payment notifications:
// has this donation been noted already?
//
// Glossary, the same words in every language of this project:
//
//   ledger    the book a series belongs to, such as "paypal-live"; donations in two ledgers never meet; empty is a ledger too
//   series    a recurring donation, named by its series id; a one-time donation is a series of one, named by its transaction id
//   event     what happened: a payment, a refund, a cancellation …
//   donation  one occurrence of an event in a series: the thing that must be processed once
//   message   one notification of it: the channel it came over, and the id that it bears there
//   sighting  a message that Noted has seen for a donation, and when
//   note      what Noted remembers of a donation: its sightings, its state, until when
//   hold      a note that is not final yet: somebody is processing the donation and has so long to do it
//   settle    the holder says: done, remember it
//   release   the holder says: failed, let the next one try
//
// Limits, in bytes, refused by name with INVALID_ARGUMENT where they are broken: ledger
// 64; series_id, message id, transaction_id, request_id 128; all five printable ASCII
// without spaces; channel 32 of "a-z 0-9 . _ -"; reason 256 of valid UTF-8. Times are
// exact to the millisecond; finer digits are dropped. A request that is not valid
// protobuf (bad UTF-8 among it) is refused by the transport with INTERNAL before Noted
// sees it; over HTTP (-http-listen) with INVALID_ARGUMENT, and so is JSON with a field
// that is not in this file, most likely a misspelt one. One of more than 64 KiB is
// refused by the transport with RESOURCE_EXHAUSTED.
//
// Other failures carry a google.rpc.ErrorInfo with domain "noted.v1" and one of these
// reasons; INVALID_ARGUMENT also a google.rpc.BadRequest that names every broken field at
// once; RESOURCE_EXHAUSTED and UNAVAILABLE, where waiting helps, a google.rpc.RetryInfo:
//
//   INVALID_ARGUMENT     INVALID_REQUEST, REQUEST_ID_REUSED (the request_id belongs to another message; nothing was noted)
//   OUT_OF_RANGE         OCCURRED_TOO_EARLY, OCCURRED_TOO_LATE, RECEIVED_TOO_EARLY
//   FAILED_PRECONDITION  HOLD_LOST (another attempt has taken over), HOLD_RELEASED, SETTLED_BY_ANOTHER, ALREADY_SETTLED (by this receipt),
//                        STORE_UNSUITABLE (the store cannot run Noted, such as a Redis that is too old; the operator must act)
//   NOT_FOUND            NOTE_NOT_FOUND
//   RESOURCE_EXHAUSTED   RATE_LIMITED, STORE_FULL, SERIES_FULL, OVERLOADED
//   UNAUTHENTICATED      UNAUTHENTICATED
//   PERMISSION_DENIED    LEDGER_DENIED, VERB_DENIED
//   UNAVAILABLE          STORE_UNAVAILABLE (nothing was noted), OUTCOME_UNKNOWN (it may have been noted: ask again with the same request_id),
//                        DURABILITY_NOT_REACHED (fewer replicas than asked for have what the answer rests on: ask again with the same request_id),
//                        STORE_WENT_BACK (the store has lost notes and waits for an operator),
//                        POOL_EXHAUSTED (the server has no connection to the store free; nothing was noted: ask again soon)
//   DEADLINE_EXCEEDED    DEADLINE_EXCEEDED
//   INTERNAL             INTERNAL
namespace Noted\V1;

/**
 * DedupeService exists because PayPal tells of one donation several times: over two
 * channels, with retries, out of order, each message under an id of its own. It remembers
 * which donations have been noted, so that each is processed once. Its calls are listed
 * in the order of a donation's life.
 */
class DedupeServiceClient extends \Grpc\BaseStub {

    /**
     * @param string $hostname hostname
     * @param array $opts channel options
     * @param \Grpc\Channel $channel (optional) re-use channel object
     */
    public function __construct($hostname, $opts, $channel = null) {
        parent::__construct($hostname, $opts, $channel);
    }

    /**
     * NoteDonation decides whether this donation has been noted already, and notes it, in
     * one atomic step.
     *
     * FIRST: it is the caller's to process. DUPLICATE: it is done, or was noted before;
     * drop the message. HELD: somebody is processing it; come back after retry_after (a
     * receiver answers PayPal with 503, and PayPal comes again).
     *
     * Two messages tell of the same donation only within one ledger, one series and one
     * event. Then the strongest evidence decides:
     *
     *   1. The same request_id as the note's latest FIRST.
     *   2. The same message: its channel and its id.
     *   3. Transaction ids. A note's own id is that of the message that was answered
     *      FIRST last. In this order: a note whose own id it is, is the same donation; a
     *      note with another id on this message's channel is another donation; a note
     *      with this id in any other sighting is the same; a note with other ids on
     *      other channels only is another donation where the ids of the two channels are
     *      known to agree. Noted learns whether they do from the series and from the
     *      ledger (-transaction-ids).
     *   4. Pairing: equal amounts and currencies where both are given, no other id on
     *      this channel, and times that agree.
     *
     * Otherwise the donation is new.
     *
     * With a hold the note is not final until SettleDonation; a hold that is released or
     * runs out makes the next message FIRST again. Without one the note is final at once,
     * and a caller that dies before it has processed the donation has lost it. Always hold,
     * unless a loss does not matter.
     *
     * A repeat with the same request_id is safe, and answers the same again. On any error
     * nothing is known: do not process, and do not take the error for a DUPLICATE. Answer
     * 503, or ask again with the same request_id.
     *
     * Fails with INVALID_ARGUMENT, reason REQUEST_ID_REUSED when the request_id is that of
     * another message of this series and event (reuse across series or events is not seen);
     * OUT_OF_RANGE when the donation is not known and occurred_at or received_at lies
     * further back than notes are kept, or occurred_at further ahead than clocks may
     * disagree; RESOURCE_EXHAUSTED; UNAVAILABLE; FAILED_PRECONDITION (STORE_UNSUITABLE);
     * DEADLINE_EXCEEDED, after which nothing will be noted any more.
     * @param \Noted\V1\NoteDonationRequest $argument input argument
     * @param array $metadata metadata
     * @param array $options call options
     * @return \Grpc\UnaryCall
     */
    public function NoteDonation(\Noted\V1\NoteDonationRequest $argument,
      $metadata = [], $options = []) {
        return $this->_simpleRequest('/noted.v1.DedupeService/NoteDonation',
        $argument,
        ['\Noted\V1\NoteDonationResponse', 'decode'],
        $metadata, $options);
    }

    /**
     * NoteDonations is NoteDonation for many: a stream for backfills and busy gateways.
     * Answers come in the order of the requests. A request that fails is answered with its
     * own error and the stream goes on; only a broken stream ends it. A caller whose stream
     * breaks asks again for everything that was not answered, with the same request_ids.
     * @param array $metadata metadata
     * @param array $options call options
     * @return \Grpc\BidiStreamingCall
     */
    public function NoteDonations($metadata = [], $options = []) {
        return $this->_bidiRequest('/noted.v1.DedupeService/NoteDonations',
        ['\Noted\V1\NoteDonationsResponse','decode'],
        $metadata, $options);
    }

    /**
     * DonationExists makes the same decision as NoteDonation without noting anything. It is
     * for looking, not for deciding: between a look and a note another caller may come. It
     * is true for a settled note and a live hold, false for an open note (which is
     * returned, so that a person sees what happened) and where there is none.
     *
     * Fails as NoteDonation does; a store that cannot be asked is UNAVAILABLE, never "does
     * not exist".
     * @param \Noted\V1\DonationExistsRequest $argument input argument
     * @param array $metadata metadata
     * @param array $options call options
     * @return \Grpc\UnaryCall
     */
    public function DonationExists(\Noted\V1\DonationExistsRequest $argument,
      $metadata = [], $options = []) {
        return $this->_simpleRequest('/noted.v1.DedupeService/DonationExists',
        $argument,
        ['\Noted\V1\DonationExistsResponse', 'decode'],
        $metadata, $options);
    }

    /**
     * SettleDonation makes the note of a receipt final: the donation has been processed.
     * Twice is as good as once. A hold that has run out can still be settled by its holder,
     * until somebody takes over.
     *
     * Fails with FAILED_PRECONDITION, reason HOLD_LOST when another attempt has taken over,
     * SETTLED_BY_ANOTHER when that attempt has also settled (the caller has just processed
     * a donation twice and must know), HOLD_RELEASED after a release; NOT_FOUND when the
     * note is forgotten; INVALID_ARGUMENT for what is no receipt.
     * @param \Noted\V1\SettleDonationRequest $argument input argument
     * @param array $metadata metadata
     * @param array $options call options
     * @return \Grpc\UnaryCall
     */
    public function SettleDonation(\Noted\V1\SettleDonationRequest $argument,
      $metadata = [], $options = []) {
        return $this->_simpleRequest('/noted.v1.DedupeService/SettleDonation',
        $argument,
        ['\Noted\V1\SettleDonationResponse', 'decode'],
        $metadata, $options);
    }

    /**
     * ReleaseDonation gives a hold up: the next message of this donation is FIRST again, at
     * once. Twice is as good as once.
     *
     * Fails as SettleDonation does, and with reason ALREADY_SETTLED when this receipt has
     * settled.
     * @param \Noted\V1\ReleaseDonationRequest $argument input argument
     * @param array $metadata metadata
     * @param array $options call options
     * @return \Grpc\UnaryCall
     */
    public function ReleaseDonation(\Noted\V1\ReleaseDonationRequest $argument,
      $metadata = [], $options = []) {
        return $this->_simpleRequest('/noted.v1.DedupeService/ReleaseDonation',
        $argument,
        ['\Noted\V1\ReleaseDonationResponse', 'decode'],
        $metadata, $options);
    }

    /**
     * ExtendHold gives the holder longer: the hold then lasts until now plus hold, even if
     * it had run out, as long as nobody has taken over.
     *
     * Fails as ReleaseDonation does.
     * @param \Noted\V1\ExtendHoldRequest $argument input argument
     * @param array $metadata metadata
     * @param array $options call options
     * @return \Grpc\UnaryCall
     */
    public function ExtendHold(\Noted\V1\ExtendHoldRequest $argument,
      $metadata = [], $options = []) {
        return $this->_simpleRequest('/noted.v1.DedupeService/ExtendHold',
        $argument,
        ['\Noted\V1\ExtendHoldResponse', 'decode'],
        $metadata, $options);
    }

    /**
     * ListDonations pages through notes: the history of one series, oldest first, or all
     * notes of a ledger in no particular order. With state and seen_only_on it finds what
     * is held, open, or told of by one channel only.
     *
     * A page may hold fewer notes than page_size, even none, and still not be the last: it
     * also ends at 256 KiB of notes, and when it has looked at enough series. The last page
     * has no next_page_token. While notes come and go a listing of a ledger may show a note
     * twice, but never misses one that was there throughout; where the store moves slots of
     * a cluster meanwhile, it may.
     *
     * Fails with INVALID_ARGUMENT (a page_token of another listing among it),
     * RESOURCE_EXHAUSTED (OVERLOADED: few pages are gathered at a time) and UNAVAILABLE.
     * @param \Noted\V1\ListDonationsRequest $argument input argument
     * @param array $metadata metadata
     * @param array $options call options
     * @return \Grpc\UnaryCall
     */
    public function ListDonations(\Noted\V1\ListDonationsRequest $argument,
      $metadata = [], $options = []) {
        return $this->_simpleRequest('/noted.v1.DedupeService/ListDonations',
        $argument,
        ['\Noted\V1\ListDonationsResponse', 'decode'],
        $metadata, $options);
    }

    /**
     * ForgetDonation undoes a note, whatever its state: the next message of the donation is
     * FIRST, with a new donation_id. It is an operator's tool; who forgot what, and why, is
     * logged.
     *
     * Fails with INVALID_ARGUMENT, and NOT_FOUND when there is no such note, so a repeat
     * after a lost reply says NOT_FOUND.
     * @param \Noted\V1\ForgetDonationRequest $argument input argument
     * @param array $metadata metadata
     * @param array $options call options
     * @return \Grpc\UnaryCall
     */
    public function ForgetDonation(\Noted\V1\ForgetDonationRequest $argument,
      $metadata = [], $options = []) {
        return $this->_simpleRequest('/noted.v1.DedupeService/ForgetDonation',
        $argument,
        ['\Noted\V1\ForgetDonationResponse', 'decode'],
        $metadata, $options);
    }

}
