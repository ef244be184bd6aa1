<?php

declare(strict_types=1);

namespace Noted;

/** One notification of a donation: the channel that it came over, such as "ipn" or "webhook", and its id there. */
final class Message
{
    /** @param string $id the same in every redelivery; may be empty, and needs a channel */
    public function __construct(
        public readonly string $channel = '',
        public readonly string $id = '',
    ) {
    }
}
