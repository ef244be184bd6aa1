<?php

// A listener from PayPal's manual for IPNs: it posts the bytes back to PayPal, and keeps
// the messages that PayPal calls VERIFIED. It cannot recognise duplicates.
http_response_code(500); // until the message is kept
$body = file_get_contents('php://input');
$answer = file_get_contents(getenv('VERIFY_URL'), false, stream_context_create(['http' => [
    'method' => 'POST',
    'header' => 'Content-Type: application/x-www-form-urlencoded',
    'content' => 'cmd=_notify-validate&' . $body,
]]));
if ($answer !== 'VERIFIED') {
    http_response_code(400);
    exit;
}
if (file_put_contents('donations', ($_POST['txn_id'] ?? '') . "\n", FILE_APPEND | LOCK_EX) > 0) {
    http_response_code(200);
}
