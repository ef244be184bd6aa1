<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * STORE_WENT_BACK: the store has lost notes and waits for an operator. The client does
 * not try again.
 */
final class StoreWentBack extends Unavailable
{
}
