<?php

// The handler of public/receiver.php in the tests: it adds a line to the book, or fails while
// there is a file that closes the books.

declare(strict_types=1);

$folder = (string) getenv('NOTED_TEST_FOLDER');
$line = static function (string $book, mixed ...$values) use ($folder): void {
    file_put_contents("$folder/$book", implode(' ', $values) . "\n", FILE_APPEND | LOCK_EX);
};
return [
    'process' => static function (
        Noted\Pair $pair,
        Noted\Note $note,
        Noted\Hold $hold,
        string $body
    ) use (
        $line,
        $folder,
    ): void {
        if (file_exists("$folder/closed")) {
            throw new RuntimeException('the books are closed');
        }
        $d = $pair->donation;
        $line('books', $note->donationId, $d->ledger, $d->seriesId, $d->event->name, $d->amount, strlen($body));
    },
    'undecided' => static function (Noted\Pair $pair, string $reason, string $body) use ($line, $folder): void {
        if (file_exists("$folder/closed")) {
            throw new RuntimeException('the books are closed');
        }
        $line('undecided', $reason, $pair->donation->seriesId);
    },
];
