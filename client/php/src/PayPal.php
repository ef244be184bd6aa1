<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\Malformed;
use Noted\PayPal\Ipn;
use Noted\PayPal\Webhook;

/**
 * Reads PayPal's messages, and says which donations they tell of.
 *
 * Two pure functions. They make no call and verify nothing. Verify the message first: a
 * forged message that is noted suppresses the genuine one. Look at warnings too, and
 * raise an alarm for unknown: it may have been a donation.
 *
 * The same rules exist in Go, Python and TypeScript. All print the same bytes and run the
 * same cases. client/paypal/doc.go has the rules, with the reasons.
 */
final class PayPal
{
    /**
     * Reads the body of an IPN, exactly as it was posted: file_get_contents('php://input').
     *
     * @throws Malformed if it cannot be read, or names no series
     */
    public static function identifyIpn(string $body): Identified
    {
        return Ipn::identify($body);
    }

    /**
     * Reads the body of a webhook event, exactly as it was posted.
     *
     * @throws Malformed if it cannot be read, or names no series
     */
    public static function identifyWebhook(string $body): Identified
    {
        return Webhook::identify($body);
    }
}
