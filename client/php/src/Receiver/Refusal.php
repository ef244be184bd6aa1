<?php

declare(strict_types=1);

namespace Noted\Receiver;

/**
 * Every answer to PayPal but 200. Its message says what is wrong and what to do about it,
 * and repeats no part of PayPal's message.
 */
final class Refusal extends \RuntimeException
{
    /** @param string $reason one word of few */
    public function __construct(public readonly int $status, public readonly string $reason, string $text)
    {
        parent::__construct($text);
    }

    /** A refusal for now: PayPal comes again. */
    public static function again(string $reason, string $text): self
    {
        return new self(503, $reason, $text);
    }
}
