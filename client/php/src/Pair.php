<?php

declare(strict_types=1);

namespace Noted;

/** A donation and the message that told of it. */
final class Pair
{
    public function __construct(public readonly Donation $donation, public readonly Message $message)
    {
    }
}
