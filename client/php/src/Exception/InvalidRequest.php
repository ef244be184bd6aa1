<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * INVALID_REQUEST: $violations names every field that is malformed. The same request will
 * be refused again.
 */
final class InvalidRequest extends Undecidable
{
}
