<?php

declare(strict_types=1);

namespace Noted;

/**
 * One notification of a donation: the channel that it came over, such as "ipn" or
 * "webhook", and its id there.
 */
final class Message
{
    /**
     * When it first arrived, if it waited in a queue: in the JSON form of a protobuf
     * Timestamp, such as "2021-03-08T17:05:01.250Z"; empty for now.
     */
    public readonly string $receivedAt;

    /**
     * @param string $id the same in every redelivery; may be empty, and needs a channel
     * @param string|\DateTimeInterface $receivedAt when it first arrived, where that was not
     *     just now
     */
    public function __construct(
        public readonly string $channel = '',
        public readonly string $id = '',
        string|\DateTimeInterface $receivedAt = '',
    ) {
        $this->receivedAt = Wire::time($receivedAt);
    }
}
