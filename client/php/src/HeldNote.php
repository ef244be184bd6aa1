<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\DeadlineExceeded;
use Noted\Exception\NotedException;
use Noted\Exception\NotSettled;

/**
 * The note that Client::once() holds: extends and settles it, with more tries than a call
 * has.
 *
 * @internal
 */
final class HeldNote
{
    /**
     * @param float $timeout in seconds, of one call with its retries
     * @param float $hold in seconds, how long an extension lasts
     * @param float $settleTimeout in seconds, of all tries to settle
     */
    public function __construct(
        private readonly Calls $calls,
        private readonly NoteResponse $answer,
        private readonly float $timeout,
        private readonly float $hold,
        private readonly float $settleTimeout,
    ) {
    }

    /**
     * Extends the hold, and tries until the hold would have run out. A hold that has run
     * out gets one try. Returns until when the hold lasts.
     */
    public function extend(float $until): float
    {
        $told = null;
        for ($try = 1;; $try++) {
            $asked = Retry::now();
            try {
                // A try that hangs must leave time for another.
                $timeout = min($this->timeout, max($this->hold / 6, 0.1));
                $note = $this->calls->extend($this->answer->receipt, $this->hold, $timeout);
                Calls::checkSame('extending a hold', $this->answer->note, $note);
                return $asked + $this->hold;
            } catch (NotedException $e) {
                if (Retry::refused($e)) {
                    throw $e;
                }
                $told = self::reasonOf($told, $e);
                if (!Retry::sleep(Retry::waitAfter($try, $e), $until)) {
                    throw $told;
                }
            }
        }
    }

    /**
     * Settles, and does not give up at the first failure: the work is done. It waits for
     * a server that is away, too busy or too slow.
     */
    public function settle(): void
    {
        $deadline = Retry::now() + $this->settleTimeout;
        $told = null;
        for ($try = 1;; $try++) {
            try {
                $timeout = min($this->timeout, $deadline - Retry::now());
                $note = $this->calls->settle($this->answer->receipt, '', $timeout);
                Calls::checkSame('settling', $this->answer->note, $note);
                return;
            } catch (NotedException $e) {
                if (Retry::refused($e)) {
                    throw NotSettled::because($e);
                }
                $told = self::reasonOf($told, $e);
                if (!Retry::sleep(Retry::waitAfter($try, $e), $deadline)) {
                    throw NotSettled::because($told);
                }
            }
        }
    }

    /**
     * The error to tell of several tries: the latest one, $told being that of the tries
     * before it. A try that had no time for an answer does not hide an earlier reason.
     */
    private static function reasonOf(?NotedException $told, NotedException $e): NotedException
    {
        return $told !== null && $e instanceof DeadlineExceeded ? $told : $e;
    }
}
