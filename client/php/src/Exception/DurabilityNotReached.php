<?php

declare(strict_types=1);

namespace Noted\Exception;

/** DURABILITY_NOT_REACHED: noted, but fewer replicas than asked for have it; ask again with the same request id. */
final class DurabilityNotReached extends Unavailable
{
}
