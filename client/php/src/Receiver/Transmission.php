<?php

declare(strict_types=1);

namespace Noted\Receiver;

/** The headers of one delivery of a webhook. */
final class Transmission
{
    /** How many seconds PayPal's clock may be ahead of ours. */
    private const AHEAD = 300;

    private function __construct(
        public readonly string $id,
        public readonly string $time,
        public readonly string $signature,
        public readonly string $certUrl,
        public readonly string $algorithm,
    ) {
    }

    /**
     * Reads the headers of a delivery, which must be of the last days: only a checksum
     * binds the body to the signature, so another body could be made for an old
     * transmission. PayPal sends a webhook again for three days, which is recent enough.
     *
     * @param array<string, string> $headers by their names in lower case
     * @param float $maxAge in seconds
     */
    public static function read(array $headers, float $now, float $maxAge): self
    {
        $values = [];
        foreach (['transmission-id', 'transmission-time', 'transmission-sig', 'cert-url', 'auth-algo'] as $name) {
            $value = $headers["paypal-$name"] ?? '';
            if ($value === '' || strlen($value) > 1024) {
                throw self::refused(
                    'the header PAYPAL-' . strtoupper($name) . " is missing: this is no webhook of PayPal's",
                );
            }
            $values[] = $value;
        }
        $transmission = new self($values[0], $values[1], $values[2], $values[3], $values[4]);
        if (str_contains($transmission->id, '|')) {
            // it could shift the parts of the signed text
            throw self::refused('the transmission id holds a |');
        }
        $pattern = '/^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$/D';
        $at = preg_match($pattern, $transmission->time) === 1 ? strtotime($transmission->time) : false;
        if ($at === false) {
            throw self::refused('the transmission time cannot be read');
        }
        if ($now - $at > $maxAge) {
            throw new Refusal(400, 'too_old', 'the transmission is older than ' . round($maxAge / 3600, 2) . ' hours');
        }
        if ($at - $now > self::AHEAD) {
            throw new Refusal(400, 'too_new', 'the transmission time is in the future; compare the clocks');
        }
        return $transmission;
    }

    private static function refused(string $text): Refusal
    {
        return new Refusal(400, 'headers', $text);
    }
}
