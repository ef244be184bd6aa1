<?php

declare(strict_types=1);

namespace Noted\PayPal;

/**
 * The fields of an IPN in the order of its body, as bytes. PayPal's charset field has no
 * effect: all fields that are read are ASCII.
 *
 * @internal
 */
final class Form
{
    /** @param list<array{string, string}> $fields each a name and a value */
    private function __construct(public readonly array $fields)
    {
    }

    /**
     * Reads a body. It is not parse_str, which renames fields and keeps the last of a
     * repeated name. PayPal adds resend=true when it sends a message again. The field is
     * dropped here, so that no rule and no id depends on it.
     */
    public static function parse(string $body): self
    {
        $fields = [];
        foreach (explode('&', rtrim($body, "\r\n")) as $piece) {
            if ($piece === '') {
                continue;
            }
            [$name, $value] = explode('=', $piece, 2) + [1 => ''];
            $name = urldecode($name); // leaves a percent sign alone that no two hexadecimal digits follow
            if ($name !== 'resend') {
                $fields[] = [$name, urldecode($value)];
            }
        }
        return new self($fields);
    }

    /** The first field of that name, or "". */
    public function value(string $name): string
    {
        foreach ($this->fields as [$candidate, $value]) {
            if ($candidate === $name) {
                return $value;
            }
        }
        return '';
    }

    /**
     * The id that stands for the whole message, because an IPN has no id (different
     * payments share an ipn_track_id). It is over sorted, decoded fields, so a body that
     * was parsed and written again has the same id.
     */
    public function digest(): string
    {
        $sorted = $this->fields;
        usort($sorted, static fn(array $a, array $b): int => strcmp($a[0], $b[0])); // stable, and by bytes
        $hash = hash_init('sha256');
        foreach ($sorted as [$name, $value]) {
            hash_update($hash, "$name=$value\n");
        }
        return substr(hash_final($hash), 0, 32);
    }
}
