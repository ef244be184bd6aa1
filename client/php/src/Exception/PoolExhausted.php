<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * POOL_EXHAUSTED: every connection of the server to the store is in use. The last try of
 * the call noted nothing; an earlier try may have noted. Ask again soon.
 */
final class PoolExhausted extends Unavailable
{
}
