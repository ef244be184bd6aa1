<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * STORE_UNSUITABLE: the store cannot run Noted, such as a Redis that is too old. Nothing
 * was noted; the operator must act.
 */
final class StoreUnsuitable extends NotedException
{
}
