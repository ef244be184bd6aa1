<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * STORE_UNAVAILABLE: the store cannot answer. The last try of the call noted nothing; an
 * earlier try may have noted.
 */
final class StoreUnavailable extends Unavailable
{
}
