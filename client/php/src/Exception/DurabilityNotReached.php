<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * DURABILITY_NOT_REACHED: too few replicas have the notes behind the answer. Ask again
 * with the same request id.
 */
final class DurabilityNotReached extends Unavailable
{
}
