<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\NotedException;

/**
 * The caller's own headers, such as the traceparent of a trace.
 *
 * @internal
 */
final class Headers
{
    /** Those that this library or HTTP sets, and those that decide how a call is read. */
    private const RESERVED =
        '/^(?:authorization|connection|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade|user-agent)$' .
        '|^(?:accept|connect|content|grpc|proxy)-|-bin$/iD';

    /** In bytes, of all names and values. The server takes no more than 16 KiB in all. */
    private const MOST = 8 << 10;

    private bool $isTold = false;

    /** @param ?\Closure(): array<string, string> $headers */
    public function __construct(private readonly ?\Closure $headers)
    {
    }

    /**
     * The headers of one try. If the callable fails, there are none: a trace must not cost
     * a donation.
     *
     * @return array<string, string>
     */
    public function now(string $act): array
    {
        if ($this->headers === null) {
            return [];
        }
        try {
            $given = self::read(($this->headers)());
        } catch (\Throwable $e) {
            if (!$this->isTold) {
                $why = $e->getMessage();
                error_log("noted: the headers callable failed, so the call goes without its headers: $why");
            }
            $this->isTold = true;
            return [];
        }
        foreach (array_keys($given) as $name) {
            if (preg_match(self::RESERVED, $name) === 1) {
                throw NotedException::of(
                    $act,
                    'internal',
                    "the headers callable gave $name, which belongs to the library or to HTTP; leave it out",
                );
            }
        }
        return $given;
    }

    /**
     * Throws if the value is no array of headers that can be sent.
     *
     * @return array<string, string>
     */
    private static function read(mixed $given): array
    {
        if (!is_array($given)) {
            throw new \UnexpectedValueException('it gave ' . get_debug_type($given) . '; it must return an array');
        }
        $size = 0;
        foreach ($given as $name => $value) {
            if (!is_string($name) || preg_match('/^[\w.-]+$/D', $name) !== 1) {
                throw new \UnexpectedValueException("it gave the name \"$name\", which no header can have");
            }
            if (!is_string($value) || preg_match('/^[\x20-\x7e]*$/D', $value) !== 1) {
                throw new \UnexpectedValueException("it gave a $name that is no text of printable ASCII");
            }
            $size += strlen($name) + strlen($value);
        }
        if ($size > self::MOST) {
            throw new \UnexpectedValueException('it gave more than ' . self::MOST . ' bytes');
        }
        return $given;
    }
}
