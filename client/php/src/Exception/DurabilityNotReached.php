<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * DURABILITY_NOT_REACHED: fewer replicas than asked for have what the answer rests on;
 * ask again with the same request id.
 */
final class DurabilityNotReached extends Unavailable
{
}
