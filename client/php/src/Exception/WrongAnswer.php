<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * The answer is about another series, ledger or donation than was asked about: something
 * between the client and the server mixes answers up. Nothing is known, as with every
 * NotedException.
 */
final class WrongAnswer extends NotedException
{
}
