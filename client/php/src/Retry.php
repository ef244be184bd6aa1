<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\NotedException;

/**
 * When a call is tried again, and after which wait.
 *
 * @internal
 */
final class Retry
{
    public const MAX_TRIES = 4; // of one call, the first included
    /**
     * In seconds. With less time left the client begins no try: its timeout would hide
     * why the tries before it failed.
     */
    public const LEAST_TIME = 0.1;
    private const BASE_BACKOFF = 0.1; // before the second try; doubles with each
    private const MAX_BACKOFF = 2.0;

    /**
     * Says whether the server has refused a receipt for good, so that another try would
     * change nothing.
     */
    public static function refused(NotedException $e): bool
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
    public static function waitAfter(int $try, NotedException $e): float
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
    public static function sleep(float $wait, float $deadline): bool
    {
        if ($deadline - self::now() <= $wait) {
            return false;
        }
        usleep((int) ($wait * 1e6));
        return true;
    }

    /**
     * The exception of the last try. If that try got no answer, such as a try that hung
     * until the deadline, it tells why an earlier try failed too. Its class stays: it may
     * have noted, even if the earlier try did not.
     */
    public static function telling(NotedException $e, ?NotedException $earlier): NotedException
    {
        $unanswered = in_array($e->reason, ['', 'DEADLINE_EXCEEDED'], true);
        if ($earlier === null || !$unanswered || $e->problem === $earlier->problem) {
            return $e;
        }
        $why = ($earlier->reason !== '' ? $earlier->reason : $earlier->status) . ": {$earlier->problem}";
        return new ($e::class)(
            $e->act,
            $e->status,
            "{$e->problem}; an earlier try failed: $why",
            $e->reason,
            $e->retryAfter,
            $e->violations,
            $e->getPrevious(),
        );
    }

    /** A clock that cannot be set, in seconds. */
    public static function now(): float
    {
        return hrtime(true) / 1e9;
    }
}
