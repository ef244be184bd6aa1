<?php

// Stands between a client and Noted, for php -S, and does what a list in JSON says, the
// file "peer" in the folder of NOTED_TEST_FOLDER: [RPC, HTTP status, body] answers that
// instead, [RPC, "series" | "ledger" | "donation" | "none" | "received"] changes the note
// of what the Noted at NOTED_TEST_UPSTREAM has answered. What was asked is kept in
// "asked".

declare(strict_types=1);

$folder = (string) getenv('NOTED_TEST_FOLDER');
$rpc = basename($_SERVER['REQUEST_URI']);
$request = file_get_contents('php://input');
[$wanted, $what, $body] = json_decode((string) @file_get_contents("$folder/peer"), true) + ['', '', ''];
file_put_contents("$folder/asked", "$rpc $request\n", FILE_APPEND);

$here = $rpc === $wanted;
if ($here && is_int($what)) {
    http_response_code($what);
    header('Content-Type: application/json');
    echo $body;
    return;
}
$curl = curl_init(getenv('NOTED_TEST_UPSTREAM') . $_SERVER['REQUEST_URI']);
curl_setopt_array($curl, [
    CURLOPT_POSTFIELDS => $request,
    CURLOPT_HTTPHEADER => ['Content-Type: application/json', 'Connect-Protocol-Version: 1', 'Expect:'],
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_NOPROXY => '*',
]);
$answer = curl_exec($curl);
$status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
if ($here && $status === 200) {
    $answer = json_decode($answer);
    foreach ($answer->notes ?? [$answer->note] as $note) {
        match ($what) {
            'series' => ($note->donation->seriesId = 'I-OTHER'),
            'ledger' => ($note->donation->ledger = 'other'),
            'donation' => ($note->donationId = 'd-other'),
            'received' => ($note->sightings[0]->message->receivedAt = '2026-03-01T13:05:00Z'),
            'none' => ($note->donation = (object) []),
        };
    }
    $answer = json_encode($answer);
}
http_response_code($status);
header('Content-Type: application/json');
echo $answer;
