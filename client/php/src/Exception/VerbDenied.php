<?php

declare(strict_types=1);

namespace Noted\Exception;

/** VERB_DENIED: this caller may not make this call. */
final class VerbDenied extends NotedException
{
}
