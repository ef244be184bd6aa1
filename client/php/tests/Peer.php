<?php

declare(strict_types=1);

namespace Noted\Tests;

/** A broken proxy before Noted's JSON door; see misdirecting.php. */
final class Peer
{
    public readonly string $url;
    private readonly string $folder;

    public function __construct()
    {
        $this->folder = Program::folder() . '/peer-' . bin2hex(random_bytes(3));
        mkdir($this->folder);
        $this->honest();
        $upstream = ['NOTED_TEST_FOLDER' => $this->folder, 'NOTED_TEST_UPSTREAM' => Server::shared()->url];
        $this->url = 'http://' . Processes::php(__DIR__ . '/misdirecting.php', $upstream);
    }

    public function honest(): void
    {
        $this->answer([]);
    }

    /**
     * From now on each answer to the RPC is about another "series", "ledger" or
     * "donation", or about "none".
     */
    public function misdirect(string $rpc, string $to): void
    {
        $this->answer([$rpc, $to]);
    }

    /** As misdirect(), for one call. Later calls of the RPC hang until the test changes the peer. */
    public function misdirectThenHang(string $rpc, string $to): void
    {
        $this->answer([$rpc, $to, '', 'hang']);
    }

    /** From now on the RPC fails with a reason of the contract. */
    public function fail(string $rpc, string $reason, string $then = ''): void
    {
        $info = "\x0a" . chr(strlen($reason)) . "$reason\x12\x08noted.v1";
        $details = [['type' => 'google.rpc.ErrorInfo', 'value' => rtrim(base64_encode($info), '=')]];
        $error = ['code' => self::codes()[$reason], 'message' => 'as the test wants it', 'details' => $details];
        $this->answer([$rpc, 500, json_encode($error), $then]);
    }

    /** As fail(), for one call. Later calls of the RPC hang until the test changes the peer. */
    public function failThenHang(string $rpc, string $reason): void
    {
        $this->fail($rpc, $reason, 'hang');
    }

    /** @return list<array<string, mixed>> the requests of the RPC */
    public function asked(string $rpc): array
    {
        $asked = [];
        foreach (file("$this->folder/asked") as $line) {
            [$name, $request] = explode(' ', $line, 2);
            if ($name === $rpc) {
                $asked[] = json_decode($request, true);
            }
        }
        return $asked;
    }

    /** @return list<string> the traceparent of each request, empty if it had none */
    public function traces(): array
    {
        return is_file("$this->folder/traces") ? file("$this->folder/traces", FILE_IGNORE_NEW_LINES) : [];
    }

    /** @return array<string, string> the reasons in the head of noted.proto, and their codes */
    public static function codes(): array
    {
        [$head] = explode('syntax =', file_get_contents(__DIR__ . '/../../../api/noted/v1/noted.proto'));
        preg_match_all('/^\/\/   ([A-Z_]{8,})  +(.*(?:\n\/\/    +.*)*)/m', $head, $lines, PREG_SET_ORDER);
        $codes = [];
        foreach ($lines as [, $code, $rest]) {
            preg_match_all('/[A-Z_]{8,}/', $rest, $reasons);
            $codes += array_fill_keys($reasons[0], strtolower($code));
        }
        return $codes;
    }

    /** @param list<mixed> $what */
    private function answer(array $what): void
    {
        file_put_contents("$this->folder/peer", json_encode($what));
        @unlink("$this->folder/asked");
        @unlink("$this->folder/traces");
    }
}
