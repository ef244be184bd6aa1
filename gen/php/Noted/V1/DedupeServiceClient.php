<?php
// GENERATED CODE -- DO NOT EDIT!

// Original file comments:
// Package noted.v1 answers one question for receivers of payment notifications: has this
// donation been noted already?
//
// Glossary, the same words in every language of this project:
//
//   ledger    the book a series belongs to, such as "paypal-live"; donations in two ledgers never meet; empty is a ledger too
//   series    a recurring donation, named by its series id; a one-time donation is a series of one, named by its transaction id
//   event     a thing that happened: a payment, a refund, a cancellation …
//   donation  one occurrence of an event in a series: the thing that must be processed once
//   message   one notification of it: the channel it came over, and its id there
//   sighting  a message that Noted has seen for a donation, and when
//   note      Noted's memory of a donation: its sightings, its state, until when
//   hold      a note that is not final yet: a caller is processing the donation, and has so long to do it
//   settle    the holder says: done, remember it
//   release   the holder says: failed, the next message may try
//
// Limits, in bytes: ledger 64; series_id, message id, transaction_id, request_id 128; all
// five printable ASCII without spaces; channel 32 of "a-z 0-9 . _ -"; reason 256 of valid
// UTF-8. A field that breaks its limit is refused with INVALID_ARGUMENT, which names the
// field. Times are exact to the millisecond; finer digits are dropped.
//
// The transport refuses a request of more than 64 KiB with RESOURCE_EXHAUSTED, and a
// request that is not valid protobuf, such as one with bad UTF-8, with INTERNAL. Noted
// sees neither. Over HTTP (-http-listen) a request that is not valid is INVALID_ARGUMENT.
// So is JSON with a field that is not in this file, most likely a misspelt one.
//
// Other failures carry a google.rpc.ErrorInfo with domain "noted.v1" and one of these
// reasons. INVALID_ARGUMENT also carries a google.rpc.BadRequest that names every broken
// field. RESOURCE_EXHAUSTED and UNAVAILABLE carry a google.rpc.RetryInfo where waiting
// helps:
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
//                        DURABILITY_NOT_REACHED (too few replicas have the notes behind the answer: ask again with the same request_id),
//                        STORE_WENT_BACK (the store has lost notes and waits for an operator),
//                        POOL_EXHAUSTED (the server has no connection to the store free; nothing was noted: ask again soon)
//   DEADLINE_EXCEEDED    DEADLINE_EXCEEDED
//   INTERNAL             INTERNAL
namespace Noted\V1;

/**
 * DedupeService exists because PayPal tells of one donation several times: over two
 * channels, with retries, out of order, each message under its own id. It remembers which
 * donations have been noted, so that each is processed once. Its calls are in the order
 * of a donation's life.
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
     * one step.
     *
     * FIRST: it is the caller's to process. DUPLICATE: it is done, or was noted before;
     * drop the message. HELD: another caller is processing it; ask again after retry_after
     * (a receiver answers PayPal 503, and PayPal comes again).
     *
     * Two messages tell of the same donation only within one ledger, one series and one
     * event. There the strongest evidence decides:
     *
     *   1. The same request_id as the note's latest FIRST.
     *   2. The same message: its channel and its id.
     *   3. Transaction ids. A note's own id is that of the last message that was answered
     *      FIRST. In this order:
     *        - The note's own id is this message's: the same donation.
     *        - The note has another id on this message's channel: another donation.
     *        - The note has this id in any other sighting: the same donation.
     *        - The note has other ids on other channels only: another donation, if the ids
     *          of the two channels are known to agree. Noted learns from the series and
     *          from the ledger whether they do (-transaction-ids).
     *   4. Pairing: equal amounts and currencies where both are given, no other id on
     *      this channel, and times that agree.
     *
     * Otherwise the donation is new.
     *
     * With a hold the note is not final until SettleDonation. When the hold is released or
     * runs out, the next message is FIRST again. Without a hold the note is final at once:
     * a caller that dies before it has processed the donation loses it. Always hold, unless
     * a lost donation does not matter.
     *
     * A repeat with the same request_id is safe and gets the same answer. On an error the
     * outcome is unknown: do not process the donation, and do not treat the error as a
     * DUPLICATE. Answer 503, or ask again with the same request_id.
     *
     * In a ledger that is in shadow (-shadow-ledgers) Noted decides and notes in the same
     * way, and returns the verdict in shadow_verdict. The verdict is FIRST for every
     * message. Errors are the same.
     *
     * Fails with INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE, FAILED_PRECONDITION
     * (STORE_UNSUITABLE), and:
     *
     *   INVALID_ARGUMENT   REQUEST_ID_REUSED: the request_id belongs to another message of
     *                      this series and event. Reuse across series or events is not noticed.
     *   OUT_OF_RANGE       The donation is not known, and occurred_at or received_at is older
     *                      than notes are kept, or occurred_at is further ahead than clocks
     *                      may disagree.
     *   DEADLINE_EXCEEDED  Time was up. Nothing will be noted after it.
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
     * NoteDonations is NoteDonation for many donations: a stream for backfills and busy
     * gateways. Answers come in the order of the requests. A failed request gets its own
     * error, and the stream goes on. When the stream itself breaks, ask again for every
     * request without an answer, with the same request_ids.
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
     * DonationExists makes the same decision as NoteDonation and notes nothing. It is for
     * looking, not for deciding: another caller may come between a look and a note. It is
     * true for a settled note and a live hold. It is false without a note, and for an open
     * note. The answer has the open note, so that a person sees what happened.
     *
     * Fails as NoteDonation does. A store that does not answer is UNAVAILABLE, never "does
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
     * SettleDonation makes the note of a receipt final: the donation has been processed. A
     * repeat is safe. The holder can settle a hold that has run out, until another attempt
     * takes over.
     *
     * Fails with:
     *
     *   FAILED_PRECONDITION  HOLD_LOST: another attempt has taken over. SETTLED_BY_ANOTHER:
     *                        that attempt has settled too, so the donation was processed
     *                        twice. HOLD_RELEASED: the hold was released.
     *   NOT_FOUND            The note is forgotten.
     *   INVALID_ARGUMENT     The receipt is not one of Noted's.
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
     * once. A repeat is safe.
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
     * ExtendHold gives the holder more time: the hold then lasts until now plus hold. A
     * hold that has run out can be extended until another attempt takes over.
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
     * notes of a ledger in no particular order. With state and seen_only_on it finds notes
     * that are held or open, or that only one channel told of.
     *
     * A page may have fewer notes than page_size, or no note, and still not be the last: it
     * also ends at 256 KiB of notes, and when it has looked at enough series. The last page
     * has no next_page_token. While notes come and go, the listing of a ledger may show a
     * note twice. It never misses a note that was there throughout, unless a cluster moves
     * slots meanwhile.
     *
     * Fails with INVALID_ARGUMENT, also for a page_token of another listing, with
     * RESOURCE_EXHAUSTED (OVERLOADED: the server gathers few pages at a time) and with
     * UNAVAILABLE.
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
     * ForgetDonation undoes a note in any state: the next message of the donation is FIRST,
     * with a new donation_id. It is an operator's tool. The server logs the caller, the
     * note and the reason.
     *
     * Fails with INVALID_ARGUMENT, and with NOT_FOUND when there is no note of that id. A
     * repeat after a lost reply fails with NOT_FOUND too.
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
