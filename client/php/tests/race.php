<?php

// One of the processes that race for a donation: php race.php URL SERIES BOOK MESSAGE.

declare(strict_types=1);

require __DIR__ . '/../autoload.php';

[, $url, $series, $book, $message] = $argv;
$donation = new Noted\Donation($series, Noted\Event::Payment, transactionId: 'T-1');
$verdict = (new Noted\Client($url))->once($donation, new Noted\Message('ipn', $message), static function (
    Noted\Note $note,
) use ($book): void {
    usleep(50_000);
    file_put_contents($book, "{$note->donationId}\n", FILE_APPEND | LOCK_EX);
});
echo $verdict->name;
