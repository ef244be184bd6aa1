<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\NotedException;

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
 * Unavailable is the parent of those that another try may cure, and Undecidable of those
 * that each further try would end in. WrongAnswer is an answer about another donation.
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

    private readonly Calls $calls;

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
     * @param null|callable(): array<string, string> $headers gives further headers for each try
     *     of a call, such as the traceparent that hands a trace on to the server: up to 8 KiB
     *     together, in printable ASCII. If it throws or returns anything else, the call goes
     *     without them, because a trace must not cost a donation; error_log() says so once. A
     *     header that is not the caller's to set, such as authorization or content-type, fails
     *     the call with Internal and its name, before anything is sent
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
        ?callable $headers = null,
    ) {
        if ($timeout <= 0 || $settleTimeout <= 0 || $hold < 0.001 || $hold > self::MAX_HOLD) {
            throw new \InvalidArgumentException(
                "making a client of $url: timeout and settleTimeout must be positive, and hold between 0.001 and " .
                    self::MAX_HOLD .
                    ' seconds',
            );
        }
        $headers = new Headers($headers === null ? null : $headers(...));
        $this->calls = new Calls(new Transport($url, $token, $caFile, $plaintext, $headers, $http));
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
     * An Undecidable would come every time: answer 200 and keep the message for a person.
     * StoreUnsuitable lasts until the operator acts. Nothing was noted, so answer 503.
     *
     * NotSettled comes from a NoteGone when another attempt has processed the donation
     * too, or an operator intervened. PayPal's next try would be a duplicate, or double
     * the donation, so answer 200 and tell a person. It comes from HoldLost when another
     * attempt is processing the donation, and from Unavailable when the server was away
     * for too long. PayPal's next try may be First again, under the same donation id, and
     * settles it then.
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
        $asked = Retry::now(); // the hold began no earlier
        $answer = $this->note($donation, $message, $this->hold);
        if ($answer->verdict === Verdict::First && $answer->receipt === '') {
            throw NotedException::of(
                "noting {$donation->seriesId}",
                'internal',
                'the server gave no receipt for the hold',
            );
        }
        $held = new HeldNote($this->calls, $answer, $this->timeout, $this->hold, $this->settleTimeout);
        return Course::run(
            $answer,
            fn(): Hold => new Hold($held->extend(...), $this->hold, $asked + $this->hold),
            $process,
            $held->settle(...),
            fn(): Note => $this->release($answer->receipt, 'processing failed'),
        );
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
            throw NotedException::of($act, 'internal', "the server's verdict $word is unknown to this client; update the library");
        $note = Wire::note($answer['note'] ?? []);
        Calls::check($act, $donation->ledger, $donation->seriesId, $note);
        return new NoteResponse(
            $verdict,
            $note,
            Wire::evidence($answer['evidence'] ?? ''),
            $answer['receipt'] ?? '',
            Wire::seconds($answer['retryAfter'] ?? null),
            $answer['differences'] ?? [],
            Verdict::tryFrom((string) ($answer['shadowVerdict'] ?? '')),
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
            Calls::check($act, $donation->ledger, $donation->seriesId, $note);
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
        return $this->calls->settle($receipt, $reason, $this->timeout);
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
        return $this->calls->extend($receipt, $hold, $this->timeout);
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
            Calls::check('listing', $ledger, $seriesId !== '' ? $seriesId : $note->donation->seriesId, $note);
        }
        return new Page($notes, $answer['nextPageToken'] ?? '');
    }

    /**
     * Undoes a note and returns it as it was: the next message of the donation is First.
     * It is tried once: after Unavailable, look before another try.
     *
     * @param string $reason why, for the server's log
     * @param string $ledger the donation's
     * @throws NotedException
     */
    public function forget(string $seriesId, string $donationId, string $reason, string $ledger = ''): Note
    {
        $request = [
            'ledger' => $ledger,
            'seriesId' => $seriesId,
            'donationId' => $donationId,
            'reason' => $reason,
        ];
        $act = "forgetting $donationId";
        $answer = $this->calls->makeOnce($act, 'ForgetDonation', $request, $this->timeout);
        $note = Wire::note($answer['note'] ?? []);
        Calls::check($act, $ledger, $seriesId, $note, $donationId);
        return $note;
    }

    /**
     * @param array<string, mixed> $request
     * @return array<string, mixed>
     */
    private function call(string $act, string $rpc, array $request): array
    {
        return $this->calls->make($act, $rpc, $request, $this->timeout);
    }

    /** @param ?array<string, string> $fields */
    private static function object(?array $fields): ?object
    {
        return $fields === null ? null : (object) $fields;
    }
}
