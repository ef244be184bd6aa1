<?php

declare(strict_types=1);

namespace Noted\Exception;

/** STORE_FULL: the store has no room for new notes; known duplicates are still answered. */
final class StoreFull extends NotedException
{
}
