<?php

declare(strict_types=1);

namespace Noted;

/** A message that Noted has seen for a donation. */
final class Sighting
{
    /**
     * @param string $transactionId the transaction id that it gave
     * @param string $seenAt when Noted first saw it, such as "2021-03-08T17:05:01.250Z"
     */
    public function __construct(
        public readonly Message $message,
        public readonly string $transactionId,
        public readonly string $seenAt,
    ) {
    }
}
