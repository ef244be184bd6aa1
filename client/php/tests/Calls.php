<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Exception\NotedException;

/** Helpers of the client's tests. */
trait Calls
{
    private static function series(): string
    {
        return 'I-' . bin2hex(random_bytes(6));
    }

    /**
     * Makes a call that must throw a NotedException, and returns the exception.
     *
     * @param class-string<NotedException> $class
     */
    private static function failing(string $class, \Closure $call): NotedException
    {
        try {
            $call();
        } catch (NotedException $e) {
            self::assertSame($class, get_class($e), $e->getMessage());
            return $e;
        }
        self::fail("no $class was thrown");
    }
}
