<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * SERIES_FULL: the series holds more notes than a real series could. Is its id a
 * constant? For a person.
 */
final class SeriesFull extends Undecidable
{
}
