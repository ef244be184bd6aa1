<?php

declare(strict_types=1);

namespace Noted\Receiver;

/**
 * Finds out whether PayPal has sent a message. No unverified message may reach Noted, or
 * a forger could suppress a donation.
 */
interface Verifier
{
    /**
     * @param array<string, string> $headers by their names in lower case
     * @param string $body the bytes as they came
     * @return bool whether PayPal's sandbox has sent it
     * @throws Refusal 4xx if PayPal has not sent it, 503 if that cannot be found out now
     */
    public function verify(array $headers, string $body): bool;
}
