<?php

declare(strict_types=1);

namespace Noted\Exception;

/** LEDGER_DENIED: this caller may not use this ledger. */
final class LedgerDenied extends NotedException
{
}
