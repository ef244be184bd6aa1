<?php

// A proxy between a client and the server at NOTED_TEST_UPSTREAM, run by php -S. The file
// "peer" in the folder NOTED_TEST_FOLDER has a list in JSON that says how to answer:
//
//     [RPC, HTTP status, body]          answer this instead
//     [RPC, HTTP status, body, "hang"]  the same for the first call; later ones wait until the
//                                       file changes
//     [RPC, change]                     change the note of the server's answer: its "series",
//                                       "ledger" or "donation", or when it was "received", or
//                                       "none" at all
//     [RPC, change, "", "hang"]         the same for the first call; later ones wait
//
// The file "asked" lists the requests, and "traces" has the traceparent of each.

declare(strict_types=1);

$folder = (string) getenv('NOTED_TEST_FOLDER');
$rpc = basename($_SERVER['REQUEST_URI']);
$request = file_get_contents('php://input');
$script = (string) @file_get_contents("$folder/peer");
[$wanted, $what, $body, $then] = json_decode($script, true) + ['', '', '', ''];
file_put_contents("$folder/asked", "$rpc $request\n", FILE_APPEND);
file_put_contents("$folder/traces", ($_SERVER['HTTP_TRACEPARENT'] ?? '') . "\n", FILE_APPEND);

$here = $rpc === $wanted;
if ($here && $then === 'hang' && substr_count(file_get_contents("$folder/asked"), "$rpc ") > 1) {
    while (@file_get_contents("$folder/peer") === $script) {
        usleep(20_000);
    }
}
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
