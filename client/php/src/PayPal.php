<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\Malformed;
use Noted\PayPal\Ipn;
use Noted\PayPal\Webhook;

/**
 * Reads what PayPal sent, and says which donations it tells of.
 *
 * Two pure functions. They ask nobody and verify nothing: verify first, because whoever
 * can have a forged message noted can have the genuine one suppressed. Look at warnings
 * too, and be loud about unknown: there PayPal said something that is not understood.
 *
 * The same rules exist in Go and Python, print the same bytes and run the same cases.
 * They are written down in ../paypal/doc.go, with the reasons.
 */
final class PayPal
{
    /**
     * Reads the body of an IPN, exactly as it was posted: file_get_contents('php://input').
     *
     * @throws Malformed where it cannot be read at all, or names no series
     */
    public static function identifyIpn(string $body): Identified
    {
        return Ipn::identify($body);
    }

    /**
     * Reads the body of a webhook event, exactly as it was posted.
     *
     * @throws Malformed where it cannot be read at all, or names no series
     */
    public static function identifyWebhook(string $body): Identified
    {
        return Webhook::identify($body);
    }
}
