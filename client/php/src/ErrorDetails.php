<?php

declare(strict_types=1);

namespace Noted;

/**
 * Reads the details of an error: google.rpc.ErrorInfo, RetryInfo and BadRequest, which
 * the Connect protocol sends as protobuf in base64. The readable form beside it is for
 * people, and not promised.
 *
 * @internal
 */
final class ErrorDetails
{
    /** The ErrorInfo domain of the contract. Reasons of other domains are ignored. */
    private const DOMAIN = 'noted.v1';

    public readonly string $reason;
    public readonly ?float $retryAfter;
    /** @var list<Violation> */
    public readonly array $violations;

    /** @param list<mixed> $details */
    public function __construct(array $details)
    {
        [$reason, $retryAfter, $violations] = ['', null, []];
        foreach ($details as $detail) {
            if (!is_array($detail) || !is_string($detail['type'] ?? null) || !is_string($detail['value'] ?? null)) {
                continue;
            }
            $fields = self::fields((string) base64_decode($detail['value']));
            switch ($detail['type']) {
                case 'google.rpc.ErrorInfo': // reason 1, domain 2
                    $reason = self::text($fields, 2) === self::DOMAIN ? self::text($fields, 1) : $reason;
                    break;
                case 'google.rpc.RetryInfo': // retry_delay 1, of seconds 1 and nanos 2
                    $delay = self::fields(self::text($fields, 1));
                    $retryAfter = max(0.0, (int) ($delay[1][0] ?? 0) + (int) ($delay[2][0] ?? 0) / 1e9);
                    break;
                case 'google.rpc.BadRequest': // field_violations 1, each of field 1 and description 2
                    foreach ($fields[1] ?? [] as $violation) {
                        $violation = self::fields((string) $violation);
                        $violations[] = new Violation(self::text($violation, 1), self::text($violation, 2));
                    }
            }
        }
        [$this->reason, $this->retryAfter, $this->violations] = [$reason, $retryAfter, $violations];
    }

    /**
     * The fields of a protobuf message: by number, the values in their order. A varint is
     * an int, every other value bytes. A broken field ends the list.
     *
     * @return array<int, list<int|string>>
     */
    private static function fields(string $bytes): array
    {
        [$fields, $at] = [[], 0];
        while ($at < strlen($bytes)) {
            $key = self::varint($bytes, $at);
            switch ($key & 7) {
                case 0:
                    $value = self::varint($bytes, $at);
                    break;
                case 1:
                case 2:
                case 5:
                    $length = [1 => 8, 5 => 4][$key & 7] ?? self::varint($bytes, $at);
                    if ($length < 0 || $length > strlen($bytes) - $at) {
                        return $fields;
                    }
                    $value = substr($bytes, $at, $length);
                    $at += $length;
                    break;
                default:
                    return $fields;
            }
            $fields[$key >> 3][] = $value;
        }
        return $fields;
    }

    private static function varint(string $bytes, int &$at): int
    {
        $value = 0;
        for ($shift = 0; $shift < 64 && $at < strlen($bytes); $shift += 7) {
            $byte = ord($bytes[$at++]);
            $value |= ($byte & 0x7f) << $shift;
            if ($byte < 0x80) {
                break;
            }
        }
        return $value;
    }

    /** @param array<int, list<int|string>> $fields */
    private static function text(array $fields, int $number): string
    {
        $value = $fields[$number][0] ?? '';
        return is_string($value) ? $value : '';
    }
}
