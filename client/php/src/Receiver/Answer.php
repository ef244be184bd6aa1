<?php

declare(strict_types=1);

namespace Noted\Receiver;

/** The answer to PayPal. PayPal reads only the status; a person reads the rest. */
final class Answer
{
    /** @param array<string, string> $headers */
    public function __construct(
        public readonly int $status,
        public readonly array $headers = [],
        public readonly string $body = '',
    ) {
    }
}
