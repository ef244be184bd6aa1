<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\DeadlineExceeded;
use Noted\Exception\NotedException;
use Noted\Exception\NotSettled;
use Noted\Exception\StoreWentBack;
use Noted\Exception\Unavailable;
use Noted\Exception\WrongAnswer;

/**
 * Asks Noted whether a donation has been noted already, so that each is processed once.
 * It speaks to the server's JSON door (-http-listen).
 *
 *     $noted = new Client('http://127.0.0.1:8080');
 *     $verdict = $noted->once($donation, $message, function (Note $note, Hold $hold): void {
 *         book($note->donationId, …);
 *     });
 *
 * Most programs need only once(). PayPal turns a posted body into a donation and a
 * message; Receiver is the whole receiver.
 *
 * Errors. On an exception nothing is known of the donation: do not process it, and do not
 * take it for a duplicate. Every reason of the contract has a class in Noted\Exception.
 * Unavailable is the parent of those that another try may cure. WrongAnswer is an answer
 * about another donation.
 *
 * Retries. The client makes an unavailable call up to four times in all, within the
 * timeout. The wait between two tries grows, is jittered, and is never shorter than the
 * server asks for. Retries can neither double nor lose a donation: every note has a
 * request id, and a repeat gets the same answer. The client repeats no call that failed
 * otherwise, and it never repeats forget(), whose repeat would not find the note.
 *
 * A client keeps its connection, so make one client for each process and not for each
 * call.
 */
final class Client implements ClientInterface
{
    public const DEFAULT_TIMEOUT = 5.0;
    public const DEFAULT_HOLD = 60.0; // longer than a PayPal listener may take, which is 30 s
    public const DEFAULT_SETTLE_TIMEOUT = 15.0;

    private const MAX_HOLD = 900.0;
    /**
     * In seconds. With less time left the client begins no try: its timeout would hide
     * why the tries before it failed.
     */
    private const LEAST_TIME = 0.1;
    private const MAX_TRIES = 4; // of one call, the first included
    private const BASE_BACKOFF = 0.1; // before the second try; doubles with each
    private const MAX_BACKOFF = 2.0;

    private readonly Transport $transport;

    /**
     * @param string $url the server's JSON door, such as http://127.0.0.1:8080; over a network
     *     https
     * @param float $timeout in seconds, of one call with its retries
     * @param float $hold in seconds, how long once() holds a donation at a time: after a crash
     *     it waits for so long. Up to 900
     * @param float $settleTimeout in seconds, how long once() tries to settle when the callable
     *     has succeeded
     * @param null|string|\Closure(): string $token the bearer token, or what returns it so that
     *     it may be renewed (what that throws is Unavailable to the
     *     call); needs https, except to this machine
     * @param string $caFile a file of PEM certificates, one of which must have signed the
     *     server's; empty for the system's
     * @param bool $plaintext allow http to another machine: anyone on the way can then read,
     *     forge and suppress donations
     * @param ?Psr18 $http a PSR-18 client in the place of curl
     */
    public function __construct(
        string $url,
        private readonly float $timeout = self::DEFAULT_TIMEOUT,
        private readonly float $hold = self::DEFAULT_HOLD,
        private readonly float $settleTimeout = self::DEFAULT_SETTLE_TIMEOUT,
        #[\SensitiveParameter] null|string|\Closure $token = null,
        string $caFile = '',
        bool $plaintext = false,
        ?Psr18 $http = null,
    ) {
        if ($timeout <= 0 || $settleTimeout <= 0 || $hold < 0.001 || $hold > self::MAX_HOLD) {
            throw new \InvalidArgumentException(
                "making a client of $url: timeout and settleTimeout must be positive, and hold between 0.001 and " .
                    self::MAX_HOLD .
                    ' seconds',
            );
        }
        $this->transport = new Transport($url, $token, $caFile, $plaintext, $http);
    }

    /** Makes an id for note(): random, because the receipt can be made from it. */
    public static function requestId(): string
    {
        return bin2hex(random_bytes(16));
    }

    /**
     * Runs the callable if this donation is the caller's to process, and keeps others
     * from processing it meanwhile. It notes the donation with a hold, runs the callable
     * on First, settles the note when the callable returns, and releases it when the
     * callable throws.
     *
     *     returns or throws       what happened                                             tell PayPal
     *     First                   processed, and settled                                    200
     *     Duplicate               nothing to do: it is done, or was noted before            200
     *     Held                    another is processing it                                  503
     *     NotSettled              processed, but the note is not final: the donation's      503, or see below
     *                             next message may be First; getPrevious() tells why
     *     any NotedException      nothing is known, the callable was not run                503, or see below
     *     the callable's own      it failed, and the note is released: the next message     503
     *                             is First
     *
     * InvalidRequest, OccurredTooEarly, OccurredTooLate, ReceivedTooEarly and SeriesFull
     * would come every time: answer 200 and keep the message for a person.
     * StoreUnsuitable lasts until the operator acts. Nothing was noted, so answer 503.
     *
     * NotSettled comes from SettledByAnother when another attempt has processed the
     * donation too, and from HoldReleased or NoteNotFound when an operator intervened.
     * PayPal's next try would be a duplicate, or double the donation, so answer 200 and
     * tell a person. It comes from HoldLost when another attempt is processing the
     * donation, and from Unavailable when the server was away for too long. PayPal's next
     * try may be First again, under the same donation id, and settles it then.
     *
     * A program that ends inside the callable (exit, a fatal error, max_execution_time)
     * releases nothing: the hold runs out by itself, and the next message is First. So it
     * is when a release fails; once() throws the callable's exception even then. A
     * downstream that takes $note->donationId as its idempotency key, and refuses a
     * $note->attempt below the last it saw, makes all of this harmless.
     *
     * Work that may take longer than the hold calls $hold->extend() now and then; see Hold.
     *
     * @param callable(Note, Hold): mixed $process
     * @throws NotedException
     */
    public function once(Donation $donation, ?Message $message, callable $process): Verdict
    {
        $asked = self::now(); // the hold began no earlier
        $answer = $this->note($donation, $message, $this->hold);
        if ($answer->verdict !== Verdict::First) {
            return $answer->verdict;
        }
        if ($answer->receipt === '') {
            throw NotedException::of(
                "noting {$donation->seriesId}",
                'internal',
                'the server gave no receipt for the hold',
            );
        }
        $extend = fn(float $until): float => $this->extendBefore($answer, $until);
        $hold = new Hold($extend, $this->hold, $asked + $this->hold);
        try {
            $process($answer->note, $hold);
        } catch (\Throwable $e) {
            $this->giveUp($answer->receipt);
            throw $e;
        }
        $this->settleForSure($answer);
        return Verdict::First;
    }

    /**
     * Decides whether the donation has been noted already, and notes it, in one step.
     * With a hold, First comes with a receipt, which the caller must settle or release:
     * once() does that. Without a hold the note is final at once.
     *
     * @param float $hold in seconds
     * @param string $requestId the same in every repeat of this call, across restarts too, and
     *     in no other; one is made where it is empty
     * @throws NotedException
     */
    public function note(
        Donation $donation,
        ?Message $message = null,
        float $hold = 0.0,
        string $requestId = '',
    ): NoteResponse {
        $act = "noting {$donation->seriesId}";
        $answer = $this->call($act, 'NoteDonation', [
            'donation' => (object) Wire::donation($donation),
            'message' => self::object(Wire::message($message)),
            'hold' => Wire::duration($hold),
            'requestId' => $requestId !== '' ? $requestId : self::requestId(),
        ]);
        $word = $answer['verdict'] ?? 'VERDICT_UNSPECIFIED';
        $verdict =
            Verdict::tryFrom((string) $word) ??
            throw NotedException::of($act, 'internal', "the server's verdict $word is not one that this client knows");
        $note = Wire::note($answer['note'] ?? []);
        self::check($act, $donation->ledger, $donation->seriesId, $note);
        return new NoteResponse(
            $verdict,
            $note,
            Wire::evidence($answer['evidence'] ?? ''),
            $answer['receipt'] ?? '',
            Wire::seconds($answer['retryAfter'] ?? null),
            $answer['differences'] ?? [],
        );
    }

    /**
     * Decides as note() does, and notes nothing. It is for looking: another caller may
     * come between a look and a note.
     *
     * @throws NotedException
     */
    public function exists(Donation $donation, ?Message $message = null): Existence
    {
        $act = "looking for {$donation->seriesId}";
        $answer = $this->call($act, 'DonationExists', [
            'donation' => (object) Wire::donation($donation),
            'message' => self::object(Wire::message($message)),
        ]);
        $exists = $answer['exists'] ?? false;
        $note = isset($answer['note']) ? Wire::note($answer['note']) : null;
        if ($exists || $note !== null) {
            self::check($act, $donation->ledger, $donation->seriesId, $note);
        }
        return new Existence($exists, $note, Wire::evidence($answer['evidence'] ?? ''));
    }

    /**
     * Makes the note of a receipt final. A repeat is safe. SettledByAnother means that
     * the donation has been processed twice.
     *
     * @param string $reason for the server's audit, where a person settles by hand; a receiver
     *     gives none
     * @throws NotedException
     */
    public function settle(string $receipt, string $reason = ''): Note
    {
        $answer = $this->call('settling', 'SettleDonation', ['receipt' => $receipt, 'reason' => $reason]);
        return Wire::note($answer['note'] ?? []);
    }

    /**
     * Gives a hold up: the next message of the donation is First again.
     *
     * @param string $reason for the server's log, without personal data
     * @throws NotedException
     */
    public function release(string $receipt, string $reason = ''): Note
    {
        return Wire::note(
            $this->call('releasing', 'ReleaseDonation', ['receipt' => $receipt, 'reason' => $reason])['note'] ?? [],
        );
    }

    /**
     * Makes a hold last until now plus $hold seconds. A hold that has run out can be
     * extended until another attempt takes over.
     *
     * @throws NotedException
     */
    public function extend(string $receipt, float $hold): Note
    {
        return $this->extendWithin($receipt, $hold, $this->timeout);
    }

    /**
     * Yields every note that fits, page by page. The timeout bounds each page.
     *
     * @param string $seriesId empty means every series of the ledger, which walks through the
     *     whole store
     * @param State $state the state that a note must be in now
     * @param string $seenOnlyOn a channel: only notes all of whose sightings came over it
     * @param string $notedAfter the earliest notedAt, inclusive, such as "2021-03-08T17:05:01Z"
     * @param string $notedBefore the latest notedAt, exclusive
     * @param int $pageSize 1 to 1000; 0 means 100
     * @param string $transactionId a transaction id that any message of the note told of
     * @return \Generator<int, Note>
     * @throws NotedException
     */
    public function list(
        string $ledger = '',
        string $seriesId = '',
        State $state = State::Any,
        string $seenOnlyOn = '',
        string $notedAfter = '',
        string $notedBefore = '',
        int $pageSize = 0,
        string $transactionId = '',
    ): \Generator {
        $token = '';
        $number = 0;
        do {
            $page = $this->page(
                $ledger,
                $seriesId,
                $state,
                $seenOnlyOn,
                $notedAfter,
                $notedBefore,
                $pageSize,
                $token,
                $transactionId,
            );
            foreach ($page->notes as $note) {
                yield $number++ => $note;
            }
            $token = $page->nextToken;
        } while ($token !== '');
    }

    /**
     * One page of list(): the first, or the one that a page's nextToken names.
     *
     * @throws NotedException
     */
    public function page(
        string $ledger = '',
        string $seriesId = '',
        State $state = State::Any,
        string $seenOnlyOn = '',
        string $notedAfter = '',
        string $notedBefore = '',
        int $pageSize = 0,
        string $token = '',
        string $transactionId = '',
    ): Page {
        $answer = $this->call('listing', 'ListDonations', [
            'ledger' => $ledger,
            'seriesId' => $seriesId,
            'state' => $state === State::Any ? '' : $state->value,
            'seenOnlyOn' => $seenOnlyOn,
            'notedAfter' => $notedAfter,
            'notedBefore' => $notedBefore,
            'pageSize' => $pageSize,
            'pageToken' => $token,
            'transactionId' => $transactionId,
        ]);
        $notes = array_map(Wire::note(...), $answer['notes'] ?? []);
        foreach ($notes as $note) {
            self::check('listing', $ledger, $seriesId !== '' ? $seriesId : $note->donation->seriesId, $note);
        }
        return new Page($notes, $answer['nextPageToken'] ?? '');
    }

    /**
     * Undoes a note and returns it as it was: the next message of the donation is First.
     * It is tried once: after Unavailable, look before another try.
     *
     * @param string $reason why, for the server's log
     * @throws NotedException
     */
    public function forget(string $ledger, string $seriesId, string $donationId, string $reason): Note
    {
        $request = Wire::given([
            'ledger' => $ledger,
            'seriesId' => $seriesId,
            'donationId' => $donationId,
            'reason' => $reason,
        ]);
        $act = "forgetting $donationId";
        $answer = $this->transport->post($act, 'ForgetDonation', $request, $this->timeout, fresh: true);
        $note = Wire::note($answer['note'] ?? []);
        self::check($act, $ledger, $seriesId, $note, $donationId);
        return $note;
    }

    /**
     * Refuses a note of another ledger or series than the request's, or another than the
     * known note.
     */
    private static function check(
        string $act,
        string $ledger,
        string $seriesId,
        ?Note $note,
        string $donationId = '',
    ): void {
        $got = $note?->donation;
        if ($got?->ledger !== $ledger || $got->seriesId !== $seriesId) {
            $about = "series \"{$got?->seriesId}\" of ledger \"{$got?->ledger}\"";
        } elseif ($donationId !== '' && $note->donationId !== $donationId) {
            $about = "donation {$note->donationId}";
        } else {
            return;
        }
        throw new WrongAnswer(
            $act,
            'internal',
            "the answer is about $about, so nothing is known; " .
                'look for what mixes answers up between here and the server',
        );
    }

    /** Refuses an answer about another note than the held one. */
    private static function checkSame(string $act, Note $known, Note $note): void
    {
        self::check($act, $known->donation->ledger, $known->donation->seriesId, $note, $known->donationId);
    }

    /**
     * Makes one call, and repeats it while it is unavailable.
     *
     * @param array<string, mixed> $request
     * @return array<string, mixed>
     */
    private function call(string $act, string $rpc, array $request, ?float $timeout = null): array
    {
        $request = Wire::given($request);
        $deadline = self::now() + ($timeout ?? $this->timeout);
        for ($try = 1;; $try++) {
            try {
                return $this->transport->post($act, $rpc, $request, $deadline - self::now());
            } catch (Unavailable $e) {
                // A store that has lost notes waits for a person, not for us.
                if (
                    $e instanceof StoreWentBack ||
                    $try === self::MAX_TRIES ||
                    !self::sleep(self::waitAfter($try, $e), $deadline - self::LEAST_TIME)
                ) {
                    throw $e;
                }
            }
        }
    }

    private function extendWithin(string $receipt, float $hold, float $timeout): Note
    {
        $answer = $this->call(
            'extending a hold',
            'ExtendHold',
            ['receipt' => $receipt, 'hold' => Wire::duration($hold)],
            $timeout,
        );
        return Wire::note($answer['note'] ?? []);
    }

    /**
     * Extends the hold of once(), and tries until the hold would have run out. A hold
     * that has run out gets one try. Returns until when the hold lasts.
     */
    private function extendBefore(NoteResponse $held, float $until): float
    {
        for ($try = 1;; $try++) {
            $asked = self::now();
            try {
                // A try that hangs must leave time for another.
                $timeout = min($this->timeout, max($this->hold / 6, 0.1));
                $note = $this->extendWithin($held->receipt, $this->hold, $timeout);
                self::checkSame('extending a hold', $held->note, $note);
                return $asked + $this->hold;
            } catch (NotedException $e) {
                if (self::refused($e) || !self::sleep(self::waitAfter($try, $e), $until)) {
                    throw $e;
                }
            }
        }
    }

    /**
     * Settles, and does not give up at the first failure: the work is done. It waits for
     * a server that is away, too busy or too slow.
     */
    private function settleForSure(NoteResponse $held): void
    {
        $deadline = self::now() + $this->settleTimeout;
        $told = null;
        for ($try = 1;; $try++) {
            try {
                $timeout = min($this->timeout, $deadline - self::now());
                $answer = $this->call('settling', 'SettleDonation', ['receipt' => $held->receipt], $timeout);
                self::checkSame('settling', $held->note, Wire::note($answer['note'] ?? []));
                return;
            } catch (NotedException $e) {
                if (self::refused($e) || !self::sleep(self::waitAfter($try, $e), $deadline)) {
                    // The last try had no time for an answer; an earlier one has the reason.
                    throw NotSettled::because($told !== null && $e instanceof DeadlineExceeded ? $told : $e);
                }
                $told = $e;
            }
        }
    }

    private function giveUp(string $receipt): void
    {
        try {
            $this->release($receipt, 'processing failed');
        } catch (\Throwable) {
            // The callable's exception is being thrown and says more; the hold runs out
            // by itself.
        }
    }

    /**
     * Says whether the server has refused a receipt for good, so that another try would
     * change nothing.
     */
    private static function refused(NotedException $e): bool
    {
        return !in_array(
            $e->status,
            ['unavailable', 'resource_exhausted', 'deadline_exceeded', 'aborted', 'internal', 'unknown'],
            true,
        );
    }

    /**
     * The wait after the given try: exponential, with a random upper half so that callers
     * do not come back in step. The server's RetryInfo is a lower bound.
     */
    private static function waitAfter(int $try, NotedException $e): float
    {
        $chance = random_int(0, 1000) / 1000;
        $wait = min(self::BASE_BACKOFF * 2 ** min($try - 1, 10), self::MAX_BACKOFF);
        $wait = $wait / 2 + ($wait / 2) * $chance;
        return $e->retryAfter !== null && $e->retryAfter > $wait ? $e->retryAfter * (1 + $chance / 4) : $wait;
    }

    /**
     * Waits, and returns false at once if the deadline would come before the wait is
     * over.
     */
    private static function sleep(float $wait, float $deadline): bool
    {
        if ($deadline - self::now() <= $wait) {
            return false;
        }
        usleep((int) ($wait * 1e6));
        return true;
    }

    /** A clock that cannot be set, in seconds. */
    private static function now(): float
    {
        return hrtime(true) / 1e9;
    }

    /** @param ?array<string, string> $fields */
    private static function object(?array $fields): ?object
    {
        return $fields === null ? null : (object) $fields;
    }
}
