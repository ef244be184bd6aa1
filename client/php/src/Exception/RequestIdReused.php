<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * REQUEST_ID_REUSED: the request id belongs to another message. Nothing was noted; ask
 * with an id of its own, as once() does.
 */
final class RequestIdReused extends NotedException
{
}
