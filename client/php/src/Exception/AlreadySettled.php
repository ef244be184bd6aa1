<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * ALREADY_SETTLED: this receipt has settled the note before, so it can be neither
 * released nor extended.
 */
final class AlreadySettled extends NotedException
{
}
