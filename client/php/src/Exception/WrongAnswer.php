<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * The answer is about another series, ledger or donation than the request's: a program
 * between client and server mixes answers up. As with every NotedException, nothing is
 * known.
 */
final class WrongAnswer extends NotedException
{
}
