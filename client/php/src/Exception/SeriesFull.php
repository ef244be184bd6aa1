<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * SERIES_FULL: the series holds more notes than any real one could: is a constant passed
 * as its id? For a person.
 */
final class SeriesFull extends NotedException
{
}
