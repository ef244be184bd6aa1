<?php

declare(strict_types=1);

namespace Noted\PayPal;

use Noted\Exception\Malformed;

/**
 * The JSON object of a webhook. Numbers keep their spelling.
 *
 * @internal
 */
final class Document
{
    /**
     * How deep arrays and objects may nest. PayPal stays below ten.
     */
    private const MAX_DEPTH = 64;

    private const NOT_JSON = "is no JSON object; pass the body of PayPal's POST unchanged";

    private function __construct(private readonly \stdClass $root)
    {
    }

    /**
     * Reads a body. Bytes above ASCII become 0x7f first: languages disagree about bad
     * UTF-8, some refuse the whole body, and no field that is read needs it. 0x7f is
     * legal in a JSON string and illegal in an id.
     */
    public static function parse(string $body): self
    {
        if (str_starts_with($body, "\xef\xbb\xbf")) {
            $body = substr($body, 3);
        }
        $body = self::replaced('/[\x80-\xff]/', static fn(): string => "\x7f", $body);
        if (self::depth($body) > self::MAX_DEPTH) {
            throw new Malformed(
                'body',
                'nests deeper than ' . self::MAX_DEPTH . " levels; this is no event of PayPal's",
            );
        }
        // PHP refuses two escapes that are legal JSON: a lone surrogate, and NUL at the
        // start of a name.
        $hex = '[0-9a-fA-F]{2}';
        $body = self::replaced(
            "/\\\\(?:u[dD][89abAB]$hex\\\\u[dD][c-fC-F]$hex|u[dD][89a-fA-F]$hex|u0000|.)/s",
            static fn(array $found): string => match (strlen($found[0])) {
                6 => $found[0] === '\u0000' ? '\u007f' : '\ufffd',
                default => $found[0],
            },
            $body,
        );
        // Decoded once as it is, to check that it is JSON. Then with each number in
        // quotes, because PHP keeps a number's value and not its spelling. To objects of
        // stdClass, so that lists and objects differ.
        self::decode($body);
        return new self(self::decode(self::quoted($body)));
    }

    /**
     * Puts each number in quotes. It walks from string to string: one regular expression
     * over a long string exceeds PHP's limits.
     */
    private static function quoted(string $body): string
    {
        [$result, $end] = ['', strlen($body)];
        for ($i = 0; $i < $end;) {
            $between = substr($body, $i, strcspn($body, '"', $i));
            $start = $i + strlen($between);
            $result .= self::replaced(
                '/-?[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?/',
                static fn(array $found): string => "\"$found[0]\"",
                $between,
            );
            $i = self::behindString($body, $start);
            $result .= substr($body, $start, $i - $start);
        }
        return $result;
    }

    /** The index behind the string whose first quotation mark is at $i. */
    private static function behindString(string $body, int $i): int
    {
        $end = strlen($body);
        for ($i++; $i < $end && ($i += strcspn($body, '"\\', $i)) < $end && $body[$i] === '\\';) {
            $i += 2;
        }
        return min($i + 1, $end);
    }

    private static function decode(string $body): \stdClass
    {
        try {
            // PHP counts the depth in another way than we do, and must not refuse by it.
            $value = json_decode($body, false, 512, JSON_THROW_ON_ERROR);
        } catch (\JsonException $e) {
            throw new Malformed('body', self::NOT_JSON . ': ' . $e->getMessage());
        }
        return $value instanceof \stdClass ? $value : throw new Malformed('body', self::NOT_JSON);
    }

    private static function replaced(string $pattern, \Closure $replacement, string $body): string
    {
        $result = preg_replace_callback($pattern, $replacement, $body);
        return $result ??
            throw new \RuntimeException('reading a webhook: ' . preg_last_error_msg() . '; raise pcre.backtrack_limit');
    }

    /**
     * How deep brackets outside strings nest. It need not be right about text that is not
     * JSON.
     */
    private static function depth(string $body): int
    {
        [$depth, $deepest, $end] = [0, 0, strlen($body)];
        for ($i = strcspn($body, '"[{]}'); $i < $end; $i += strcspn($body, '"[{]}', $i)) {
            if ($body[$i] === '"') {
                $i = self::behindString($body, $i);
                continue;
            }
            switch ($body[$i++]) {
                case '[':
                case '{':
                    $deepest = max($deepest, ++$depth);
                    break;
                default:
                    $depth--;
            }
            if ($i >= $end) {
                break;
            }
        }
        return $deepest;
    }

    /**
     * Walks a path such as resource.links.0.href. Returns null for an absent or null
     * value, and a problem if the path leads through a value without such parts.
     *
     * @return array{mixed, string}
     */
    private function find(string $path): array
    {
        $value = $this->root;
        foreach (explode('.', $path) as $part) {
            if ($value === null) {
                return [null, ''];
            }
            if ($value instanceof \stdClass) {
                $value = $value->{$part} ?? null;
            } elseif (!is_array($value)) {
                return [null, 'is in a value that is not an object'];
            } elseif (isset($value[$part]) || array_key_exists($part, $value)) {
                $value = $value[$part];
            } else {
                return [null, 'is in an array where an object belongs'];
            }
        }
        return [$value, ''];
    }

    /**
     * The text at a path, and a problem if the value is not text.
     *
     * @return array{string, string}
     */
    public function text(string $path): array
    {
        [$value, $problem] = $this->find($path);
        return match (true) {
            $value === null => ['', $problem],
            is_string($value) => [$value, ''],
            default => ['', 'is neither a string nor a number'],
        };
    }

    /**
     * How many elements the array at a path has: 0 if it is absent, and a problem if the
     * value is not an array.
     *
     * @return array{int, string}
     */
    public function length(string $path): array
    {
        [$value, $problem] = $this->find($path);
        return match (true) {
            $value === null => [0, $problem],
            is_array($value) => [count($value), ''],
            default => [0, 'is no array'],
        };
    }
}
