<?php

declare(strict_types=1);

namespace Noted\Exception;

/** INTERNAL: a fault of the server, or of a proxy that answered in its place. */
final class Internal extends NotedException
{
}
