<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * Only from Client::once(): the callable has run and succeeded, but its note could not be
 * made final. The donation IS processed. getPrevious() tells why; reason, retryAfter and
 * violations are that exception's:
 *
 *     SettledByAnother            another attempt has processed the donation too
 *     HoldLost                    another attempt is processing the donation
 *     HoldReleased, NoteNotFound  an operator intervened
 *     Unavailable, …              the server was away for longer than settleTimeout
 */
final class NotSettled extends NotedException
{
    public static function because(NotedException $why): self
    {
        return new self(
            "processed, but not settled: {$why->act}",
            $why->status,
            $why->problem,
            $why->reason,
            $why->retryAfter,
            $why->violations,
            $why,
        );
    }
}
