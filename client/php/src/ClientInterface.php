<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\NotedException;

/**
 * The calls of Noted. Client makes them; Testing\FakeClient answers them from memory, for
 * tests of a program. Client's comments say what each call does and how it fails.
 */
interface ClientInterface
{
    /**
     * @param callable(Note, Hold): mixed $process
     * @throws NotedException
     */
    public function once(Donation $donation, ?Message $message, callable $process): Verdict;

    /** @throws NotedException */
    public function note(
        Donation $donation,
        ?Message $message = null,
        float $hold = 0.0,
        string $requestId = '',
    ): NoteResponse;

    /** @throws NotedException */
    public function exists(Donation $donation, ?Message $message = null): Existence;

    /** @throws NotedException */
    public function settle(string $receipt, string $reason = ''): Note;

    /** @throws NotedException */
    public function release(string $receipt, string $reason = ''): Note;

    /** @throws NotedException */
    public function extend(string $receipt, float $hold): Note;

    /**
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
    ): \Generator;

    /** @throws NotedException */
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
    ): Page;

    /** @throws NotedException */
    public function forget(string $seriesId, string $donationId, string $reason, string $ledger = ''): Note;
}
