<?php

declare(strict_types=1);

namespace Noted\Exception;

/** STORE_UNAVAILABLE: the store cannot answer; nothing was noted. */
final class StoreUnavailable extends Unavailable
{
}
